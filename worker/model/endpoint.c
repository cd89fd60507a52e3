/* From a row of a config_list to a place that may be called with a key that may be sent there.
 *
 *   key in the request      → sent to the request's base URL; unless strict, any URL will do
 *   key bound to the URL    → sent
 *   no key                  → fine for private and loopback URLs and for rows listed without a key, else no_model
 *   strict and not listed   → denied
 */
#include "worker/model/internal.h"

#include <sodium.h>
#include <stdlib.h>

#include "worker/model/url.h"

static const struct model_backend *const backends[] = {&model_openai, &model_script};

static const struct model_backend *backend_of(const char *api_type)
{
    if (!api_type || !*api_type)
        return &model_openai;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const char *also = backends[i]->also_api_type;
        if (!strcmp(backends[i]->api_type, api_type) || (also && !strcmp(also, api_type)))
            return backends[i];
    }
    return NULL;
}

static void find_url(struct endpoint *endpoint, const struct model_host *host,
                     const struct model_endpoint *source)
{
    struct ab_error *err = &endpoint->config_error;
    if (source->base_url && *source->base_url) {
        url_normalise(ab_view_of(source->base_url), &endpoint->base_url, err);
        return;
    }
    const char *base_url = secrets_base_url(host->secrets, endpoint->model);
    if (base_url)
        endpoint->base_url = ab_strdup(base_url);
    else
        ab_fail(err, AB_ENOMODEL,
                "no endpoint is configured for model \"%s\"; set OPENAI_API_KEY (and OPENAI_BASE_URL) for the "
                "worker, "
                "or give the agent a base_url",
                endpoint->model);
}

static bool key_is_fine(struct ab_view key)
{
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return key.n <= SECRETS_KEY_BYTES_MAX;
}

static void find_key(struct endpoint *endpoint, const struct model_host *host, struct ab_view own,
                     const char *agent)
{
    struct ab_error *err = &endpoint->config_error;
    struct secrets_found found = secrets_find(host->secrets, endpoint->base_url);
    struct ab_view key = own.n ? own : found.key;
    if (host->strict && !found.listed) {
        ab_fail(err, AB_EDENIED, "agent \"%s\": the worker's configuration does not list %s", agent,
                endpoint->base_url);
    } else if (!key_is_fine(key)) {
        ab_fail(err, AB_EINVALID, "agent \"%s\": the API key has blanks or is not ASCII", agent);
    } else if (key.n) {
        endpoint->key = ab_view_dup(key);
    } else if (found.variable && !url_is_private(endpoint->base_url)) {
        ab_fail(err, AB_ENOMODEL, "agent \"%s\" needs a key for %s: set %s for the worker", agent,
                endpoint->base_url, found.variable);
    } else if (!found.listed && !url_is_private(endpoint->base_url)) {
        ab_fail(err, AB_ENOMODEL,
                "agent \"%s\" needs a key for %s: OPENAI_API_KEY is sent only to OPENAI_BASE_URL; list this "
                "URL with "
                "its key for the worker, or put an api_key beside it",
                agent, endpoint->base_url);
    }
}

void endpoint_init(struct endpoint *endpoint, const struct model_host *host,
                   const struct model_endpoint *source, const char *agent)
{
    *endpoint = (struct endpoint){
        .model = ab_strdup(source->model ? source->model : ""),
        .api_version = source->api_version && *source->api_version ? ab_strdup(source->api_version) : NULL,
        .azure = source->api_type && !strcmp(source->api_type, "azure"),
        .script = json_incref(source->script),
        .backend = host->offline ? &model_script : backend_of(source->api_type),
    };
    if (!endpoint->backend) {
        endpoint->backend = &model_openai;
        ab_fail(&endpoint->config_error, AB_EINVALID,
                "agent \"%s\": api_type \"%s\" is not openai, azure or script", agent, source->api_type);
        return;
    }
    if (!endpoint->backend->network)
        return;
    if (!*endpoint->model) {
        ab_fail(&endpoint->config_error, AB_ENOMODEL, "agent \"%s\" has an endpoint without a model's name",
                agent);
        return;
    }
    find_url(endpoint, host, source);
    if (!endpoint->config_error.code)
        find_key(endpoint, host, source->api_key, agent);
}

void endpoint_finish(struct endpoint *endpoint)
{
    free(endpoint->model);
    free(endpoint->base_url);
    free(endpoint->api_version);
    if (endpoint->key)
        sodium_memzero(endpoint->key, strlen(endpoint->key));
    free(endpoint->key);
    json_decref(endpoint->script);
}
