/* The tool `calculator`: an arithmetic expression, by recursive descent over the text; nothing is ever executed.
 *
 *   sum     = product { (+|-) product }
 *   product = sign { (*|/|%) sign }
 *   sign    = (+|-) sign | power
 *   power   = value [ ^ sign ]                      to the right: 2^3^2 = 2^9; -2^2 = -4
 *   value   = NUMBER | NAME | NAME ( sum {, sum} ) | ( sum )
 *
 * Numbers are doubles, results have 15 significant digits.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "common/tree.h"
#include "worker/tool/tool.h"

enum { DEPTH_MAX = 100, ARGUMENTS_MAX = 32, NAME_BYTES_MAX = 16 };

struct parser {
    const char *text, *at;
    int depth;
    struct ab_error *err;
    bool failed;
};

static double fail(struct parser *p, const char *what)
{
    if (!p->failed)
        ab_fail(p->err, AB_EINVALID, "%s at character %zu of the expression", what,
                (size_t)(p->at - p->text) + 1);
    p->failed = true;
    return 0;
}

static bool skip(struct parser *p, char c)
{
    while (isspace((unsigned char)*p->at))
        p->at++;
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

/* --- names ---------------------------------------------------------------------------------------------------- */

static double least(const double *v, size_t n)
{
    double result = v[0];
    for (size_t i = 1; i < n; i++)
        result = fmin(result, v[i]);
    return result;
}

static double greatest(const double *v, size_t n)
{
    double result = v[0];
    for (size_t i = 1; i < n; i++)
        result = fmax(result, v[i]);
    return result;
}

static const struct {
    const char *name;
    double value;
} constants[] = {{"pi", 3.14159265358979323846}, {"e", 2.71828182845904523536}};

static const struct {
    const char *name;
    double (*one)(double); /* of one argument; NULL: of any number */
    double (*any)(const double *v, size_t n);
} functions[] = {
    {"sqrt", sqrt, NULL},    {"abs", fabs, NULL},  {"exp", exp, NULL},     {"ln", log, NULL},
    {"log", log10, NULL},    {"log2", log2, NULL}, {"sin", sin, NULL},     {"cos", cos, NULL},
    {"tan", tan, NULL},      {"asin", asin, NULL}, {"acos", acos, NULL},   {"atan", atan, NULL},
    {"floor", floor, NULL},  {"ceil", ceil, NULL}, {"round", round, NULL}, {"min", NULL, least},
    {"max", NULL, greatest},
};

static double sum(struct parser *p);

static double call(struct parser *p, const char *name)
{
    double v[ARGUMENTS_MAX];
    size_t n = 0;
    do {
        if (n == ARGUMENTS_MAX)
            return fail(p, "too many arguments");
        v[n++] = sum(p);
    } while (!p->failed && skip(p, ','));
    if (!p->failed && !skip(p, ')'))
        return fail(p, "a ) is missing");
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name))
            continue;
        if (!functions[i].one)
            return functions[i].any(v, n);
        return n == 1 ? functions[i].one(v[0]) : fail(p, "this function takes one argument, before here:");
    }
    return fail(p, "no such function (sqrt abs exp ln log log2 sin cos tan asin acos atan floor ceil round min "
                   "max), before here:");
}

static double named(struct parser *p)
{
    char name[NAME_BYTES_MAX];
    size_t n = 0;
    while (n < sizeof name - 1 && isalnum((unsigned char)p->at[n]))
        n++;
    memcpy(name, p->at, n);
    name[n] = 0;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (!strcmp(constants[i].name, name)) {
            p->at += n;
            return constants[i].value;
        }
    }
    const char *begin = p->at;
    p->at += n;
    if (skip(p, '('))
        return call(p, name);
    p->at = begin;
    return fail(p, "no such name (pi, e, or a function)");
}

/* --- the grammar ---------------------------------------------------------------------------------------------- */

/* Digits first: strtod would also take inf, nan and 0x1p3. */
static double number(struct parser *p)
{
    char *end;
    if (p->at[0] == '0' && (p->at[1] == 'x' || p->at[1] == 'X'))
        return fail(p, "a decimal number is expected");
    double result = strtod(p->at, &end);
    if (end == p->at)
        return fail(p, "a number, a name or ( is expected");
    p->at = end;
    return result;
}

static double value(struct parser *p)
{
    if (skip(p, '(')) {
        double result = sum(p);
        return p->failed || skip(p, ')') ? result : fail(p, "a ) is missing");
    }
    return isalpha((unsigned char)*p->at) ? named(p) : number(p);
}

static double sign(struct parser *p)
{
    double result;
    if (++p->depth > DEPTH_MAX)
        return fail(p, "this is nested too deeply,");
    if (skip(p, '-')) {
        result = -sign(p);
    } else if (skip(p, '+')) {
        result = sign(p);
    } else {
        result = value(p);
        if (!p->failed && skip(p, '^'))
            result = pow(result, sign(p));
    }
    p->depth--;
    return result;
}

static double product(struct parser *p)
{
    double result = sign(p);
    while (!p->failed) {
        char op = skip(p, '*') ? '*' : skip(p, '/') ? '/' : skip(p, '%') ? '%' : 0;
        if (!op)
            break;
        double right = sign(p);
        if (!p->failed && op != '*' && right == 0)
            return fail(p, "division by zero, before here:");
        result = op == '*' ? result * right : op == '/' ? result / right : fmod(result, right);
    }
    return result;
}

static double sum(struct parser *p)
{
    double result = product(p);
    while (!p->failed) {
        if (skip(p, '+'))
            result += product(p);
        else if (skip(p, '-'))
            result -= product(p);
        else
            break;
    }
    return result;
}

static int calculate(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                     struct ab_buf *result, struct ab_error *err)
{
    const char *text = ab_tree_str(arguments, "expression");
    struct parser p = {.text = text, .at = text, .err = err};
    (void)tool;
    (void)context;
    double answer = sum(&p);
    skip(&p, ' '); /* white space at the end */
    if (!p.failed && *p.at)
        fail(&p, "an operator is expected");
    if (p.failed)
        return AB_EINVALID;
    if (!isfinite(answer))
        return ab_fail(err, AB_EINVALID, "the result is no finite number");
    ab_buf_format(result, "%.15g", answer == 0 ? 0.0 : answer); /* no -0 */
    return 0;
}

const struct tool_builtin tool_calculator = {
    .name = "calculator",
    .description =
        "Computes an arithmetic expression: + - * / % ^, parentheses, pi, e, and the functions sqrt, abs, exp, "
        "ln, log (base 10), log2, sin, cos, tan, asin, acos, atan (radians), floor, ceil, round, min, max.",
    .parameters = "{\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\",\"minLength\":1,"
                  "\"maxLength\":4096,\"description\":\"such as 2 * (3 + 4) ^ 2\"}},"
                  "\"required\":[\"expression\"],\"additionalProperties\":false}",
    .idempotent = true,
    .ops = {.call = calculate},
};
