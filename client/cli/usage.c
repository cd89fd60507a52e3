/* See usage.h. */
#include "client/cli/usage.h"

#include <stdio.h>
#include <string.h>

#include "common/tree.h"

void usage_add(struct usage *usage, const json_t *event)
{
    const char *kind = ab_tree_str(event, "kind");
    if (!kind || strcmp(kind, "model_reply"))
        return;
    usage->calls++;
    usage->tokens += ab_tree_int(event, "prompt_tokens", 0) + ab_tree_int(event, "completion_tokens", 0);
}

void usage_texts(const json_t *total, char tokens[USAGE_TEXT], char cost[USAGE_TEXT])
{
    const json_t *price = json_object_get(total, "cost");
    snprintf(tokens, USAGE_TEXT, "-");
    snprintf(cost, USAGE_TEXT, total ? "unpriced" : "-");
    if (total)
        snprintf(
            tokens, USAGE_TEXT, "%lld",
            (long long)(ab_tree_int(total, "prompt_tokens", 0) + ab_tree_int(total, "completion_tokens", 0)));
    if (json_is_number(price))
        snprintf(cost, USAGE_TEXT, "%.6g USD", json_number_value(price));
}
