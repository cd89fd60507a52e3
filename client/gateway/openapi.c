/* /openapi.json: the route table as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0). Made once, when it is first asked
 * for. Shapes of operations' answers derive from the operation table; the seed's few stand here.
 */
#include <assert.h>
#include <stdlib.h>

#include "client/gateway/gateway.h"

/* ---- schemas ---- */

/* The seed's, as JSON: members are {name: schema}. */
#define SEED_MESSAGE                                                                                           \
    "'type':'object','required':['user_id','role','content'],'properties':{'user_id':{'type':'string'},"       \
    "'role':{'type':'string'},'content':{'type':['string','array']},'session_id':{'type':['string','null']},"  \
    "'root_msg_id':{'type':['string','null']},'msg_id':{'type':['string','null']},'timestamp':{'type':"        \
    "['string','null']},'personalize':{'type':['boolean','null']},'ra':{'type':['string','null']},'code':"     \
    "{'type':['string','null']},'metadata':true"
static const struct {
    const char *name, *json;
} shapes[] = {
    {"Error",
     "{'type':'object','required':['error'],'properties':{'error':{'type':'object','required':['code','message'"
     ","
     "'retryable'],'properties':{'code':{'type':'string'},'message':{'type':'string'},'path':{'type':'string'},"
     "'retryable':{'type':'boolean'},'retry_after_ms':{'type':'integer'},'faults':{'type':'array','items':"
     "{'type':'object'}}}}}}"},
    {"Accepted",
     "{'type':'object','required':['job','state'],'properties':{'job':{'type':'string','format':'uuid'},"
     "'n':{'type':'integer'},'session':{'type':'string'},'state':{'type':'string'},'input':{'type':'integer',"
     "'description':'the message was the answer to the question of job: the row in its inbox'},"
     "'seq':{'type':'integer','description':'with input: the last event before the answer'}}}"},
    {"Receipt", "{'type':'object','required':['job','k'],'properties':{'job':{'type':'string','format':'uuid'},"
                "'k':{'type':"
                "'integer','description':'the row in the inbox of the job'}}}"},
    {"Halted",
     "{'type':'object','required':['pool','state'],'properties':{'pool':{'type':'string'},'of':{'type':"
     "'string'},'state':{'enum':['running','paused','draining']}}}"},
    {"SeedMessage", "{" SEED_MESSAGE "}}"},
    {"SeedMessageKept",
     "{" SEED_MESSAGE ",'job':{'type':'string','description':'that made it'},'state':{'type':'string',"
     "'description':'waiting: it is a question, and the next message its answer'}}}"},
    {"SeedMessageRequest",
     "{'type':'object','required':['message','flow_config'],'properties':{'message':{'$ref':"
     "'#/components/schemas/SeedMessage'},'flow_config':{'type':'object','required':['name']}}}"},
    {"SeedMessageAnswer",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},"
     "'message':{'type':['string','array']},'metadata':{'$ref':'#/components/schemas/SeedMessageKept'}}}"},
    {"SeedMessages",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},'message':"
     "{'type':'string'},'data':{'type':'array','items':{'$ref':'#/components/schemas/SeedMessageKept'}},'next':"
     "{'type':'string'}}}"},
    {"SeedDeleteRequest",
     "{'type':'object','required':['user_id','msg_id'],'properties':{'user_id':{'type':'string'},"
     "'msg_id':{'type':'string'},'session_id':{'type':['string','null']}}}"},
    {"SeedSession",
     "{'type':'object','required':['user_id'],'properties':{'user_id':{'type':'string'},'session_id':{'type':"
     "['string','null']},'timestamp':{'type':['string','null']},'flow_config':{'type':['object','null']},"
     "'name':{'type':'string'},'description':{'type':'string'}}}"},
    {"SeedSessions",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},'message':"
     "{'type':'string'},'data':{'type':'array','items':{'$ref':'#/components/schemas/SeedSession'}},'next':"
     "{'type':'string'}}}"},
    {"SeedSessionRequest",
     "{'type':'object','required':['user_id','session'],'properties':{'user_id':{'type':'string'},"
     "'session':{'$ref':'#/components/schemas/SeedSession'}}}"},
    {"SeedPublishRequest",
     "{'type':'object','required':['user_id','session'],'properties':{'user_id':{'type':'string'},"
     "'session':{'$ref':'#/components/schemas/SeedSession'},'tags':{'type':['array','null'],'items':"
     "{'type':'string'}}}}"},
    {"SeedGalleryItem",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},"
     "'message':{'type':'string'},'data':{'type':'object'}}}"},
    {"SeedGallery",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},'message':"
     "{'type':'string'},'data':{'type':'array','items':{'type':'object'}},'next':{'type':'string'}}}"},
    {"SeedClearRequest",
     "{'type':'object','required':['user_id','session_id'],'properties':{'user_id':{'type':'string'},"
     "'session_id':{'type':'string'}}}"},
    {"SeedCleared",
     "{'type':'object','required':['status','message'],'properties':{'status':{'type':'boolean'},'message':"
     "{'type':'string'},'data':{'type':'object','properties':{'sessions':{'type':'array'}}}}}"},
    {"OpenAIError",
     "{'type':'object','required':['error'],'properties':{'error':{'type':'object','required':['code','message'"
     ","
     "'type','param','retryable'],'properties':{'code':{'type':'string'},'message':{'type':'string'},'type':"
     "{'type':'string'},'param':{'type':['string','null']},'retryable':{'type':'boolean'}}}}}"},
    {"Model",
     "{'type':'object','required':['id','object','created','owned_by'],'properties':{'id':{'type':'string'},"
     "'object':{'const':'model'},'created':{'type':'integer'},'owned_by':{'type':'string'}}}"},
    {"ModelList",
     "{'type':'object','required':['object','data'],'properties':{'object':{'const':'list'},'data':"
     "{'type':'array','items':{'$ref':'#/components/schemas/Model'}}}}"},
    {"ChatCompletionRequest",
     "{'type':'object','required':['model','messages'],'properties':{'model':{'type':'string'},'messages':{'"
     "type':"
     "'array','minItems':1,'items':{'type':'object','required':['role'],'properties':{'role':{'type':'string'},"
     "'content':{'type':['string','array','null']}}}},'stream':{'type':['boolean','null']},'stream_options':"
     "{'type':['object','null'],'properties':{'include_usage':{'type':'boolean'}}}}}"},
    {"ChatCompletion",
     "{'type':'object','required':['id','object','created','model','choices','usage'],'properties':{'id':{"
     "'type':'string'},'object':{'const':'chat.completion'},'created':{'type':'integer'},'model':{'type':'"
     "string'},'system_fingerprint':{'type':'null'},'choices':{'type':'array','items':{'type':'object','re"
     "quired':['index','message','finish_reason'],'properties':{'index':{'type':'integer'},'message':{'typ"
     "e':'object','required':['role','content'],'properties':{'role':{'const':'assistant'},'content':{'typ"
     "e':'string'},'reasoning_content':{'type':'string','description':'what other agents said'},'refusal':"
     "{'type':'null'}}},'finish_reason':{'type':'string'},'logprobs':{'type':'null'}}}},'usage':{'type':'o"
     "bject'}}}"},
    {"InputItems",
     "{'type':'object','required':['object','data','first_id','last_id','has_more'],'properties':{'object':"
     "{'const':'list'},'data':{'type':'array','items':{'type':'object'}},'first_id':{'type':['string','null']},"
     "'last_id':{'type':['string','null']},'has_more':{'type':'boolean'}}}"},
    {"ResponseRequest",
     "{'type':'object','required':['model','input'],'properties':{'model':{'type':'string'},'input':{'type':['"
     "string',"
     "'array']},'instructions':{'type':['string','null']},'previous_response_id':{'type':['string','null']},'"
     "stream':"
     "{'type':['boolean','null']},'background':{'type':['boolean','null']},'store':{'type':['boolean','null']},"
     "'metadata':{'type':['object','null']}}}"},
    {"Response",
     "{'type':'object','required':['id','object','created_at','status','model','output','error','usage'],'"
     "properties':{'id':{'type':'string'},'object':{'const':'response'},'created_at':{'type':'integer'},'s"
     "tatus':{'enum':['queued','in_progress','completed','failed','cancelled','incomplete']},'model':{'typ"
     "e':'string'},'output':{'type':'array','items':{'type':'object'}},'error':{'type':['object','null']},"
     "'incomplete_details':{'type':['object','null']},'usage':{'type':['object','null']},'background':{'ty"
     "pe':'boolean'},'store':{'type':'boolean'},'instructions':{'type':['string','null']},'metadata':{'typ"
     "e':['object','null']},'previous_response_id':{'type':['string','null']},'parallel_tool_calls':{'type"
     "':'boolean'},'max_output_tokens':{'type':'null'},'reasoning':{'type':'object'},'temperature':{'type'"
     ":'number'},'text':{'type':'object'},'tool_choice':{'type':'string'},'tools':{'type':'array'},'top_p'"
     ":{'type':'number'},'truncation':{'type':'string'}}}"},
    {"ResponseDeleted",
     "{'type':'object','required':['id','deleted'],'properties':{'id':{'type':'string'},'object':"
     "{'const':'response'},'deleted':{'const':true}}}"},
    {"Health",
     "{'type':'object','required':['status'],'properties':{'status':{'enum':['ok','ready']},'workers':"
     "{'type':'integer','description':'how many there are, where no tokens are demanded'}}}"},
    {"Version", "{'type':'object','required':['version'],'properties':{'version':{'type':'string'}}}"},
    {"Document", "{'type':'object','required':['openapi','info','paths','components']}"},
    {"Workers",
     "{'type':'object','required':['workers'],'properties':{'workers':{'type':'array','items':{'$ref':"
     "'#/components/schemas/Worker'}}}}"},
    {"Worker",
     "{'type':'object','required':['name','pool','slots','running','credit','build'],'properties':{'name':"
     "{'type':'string'},'pool':{'type':'string'},'slots':{'type':'integer'},'running':{'type':'integer'},"
     "'credit':{'type':'integer'},'build':{'type':'string'},'counters':{'type':'object','additionalProperties':"
     "true}}}"},
    {"OneSession", "{'type':'object','required':['session'],'properties':{'session':{'$ref':"
                   "'#/components/schemas/Session'}}}"},
    {"SessionExport",
     "{'type':'object','required':['format','version','session','messages'],'properties':{'format':{'const':"
     "'autobots.session'},'version':{'const':1},'session':{'$ref':'#/components/schemas/Session'},'messages':"
     "{'type':'array','items':{'$ref':'#/components/schemas/Message'}}}}"},
    {"NewSession", "{'type':'object','required':['session'],'properties':{'session':{'type':'string'}}}"},
    {"Validation",
     "{'type':'object','required':['valid','faults','warnings'],'properties':{'valid':{'type':'boolean'},"
     "'faults':{'type':'array','items':{'$ref':'#/components/schemas/"
     "Fault'}},'warnings':{'type':'array','items':"
     "{'$ref':'#/components/schemas/Fault'}},'hash':{'type':'string'},'workflow':{'type':'object',"
     "'description':'in its canonical form'}}}"},
    {"Fault",
     "{'type':'object','required':['path','what','hint'],'properties':{'path':{'type':'string'},'what':"
     "{'type':'string'},'hint':{'type':'string'}}}"},
    {"Event",
     "{'type':'object','required':['kind'],'properties':{'kind':{'type':'string'}},'additionalProperties':"
     "true}"},
    {"Id", "{'type':'string','format':'uuid'}"},
    {"SeedFaults",
     "{'type':'object','required':['detail'],'properties':{'detail':{'type':'array','items':{'type':'object',"
     "'required':['loc','msg','type']}}}}"},
};

/* Single quotes above, for the reader's sake. */
static json_t *shape_tree(const char *json)
{
    char *text = ab_strdup(json);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *tree = json_loads(text, 0, NULL);
    free(text);
    return tree;
}

static json_t *ref_tree(const char *name)
{
    char *path = ab_format("#/components/schemas/%s", name);
    json_t *tree = json_pack("{s:s}", "$ref", path);
    free(path);
    return tree;
}

static const char *const arg_schemas[] = {
    [ARG_STRING] = "{'type':'string'}",
    [ARG_UINT] = "{'type':'integer','minimum':0}",
    [ARG_INT] = "{'type':'integer'}",
    [ARG_BOOL] = "{'type':'boolean'}",
    [ARG_ID] = "{'type':'string','format':'uuid'}",
    [ARG_OBJECT] = "{'type':'object'}",
    [ARG_STRINGS] = "{'type':'array','items':{'type':'string'}}",
    [ARG_CONTENT] = "{'type':['string','array']}",
    [ARG_WORKFLOW] = "{'type':['object','string']}",
    [ARG_ANY] = "{}",
};

static json_t *arg_schema(const struct arg *arg)
{
    json_t *tree = shape_tree(arg_schemas[arg->type]);
    bool number = arg->type == ARG_UINT || arg->type == ARG_INT;
    if (arg->max && (number || arg->type == ARG_STRING))
        json_object_set_new(tree, number ? "maximum" : "maxLength", json_integer((json_int_t)arg->max));
    if (arg->doc && *arg->doc)
        json_object_set_new(tree, "description", json_string(arg->doc));
    return tree;
}

static const char *field_schema(uint8_t type)
{
    switch (type) {
    case AB_BOOL:
        return "{'type':'boolean'}";
    case AB_UINT:
    case AB_INT:
    case AB_MAYBE:
        return "{'type':'integer'}";
    case AB_ID:
        return "{'type':'string','format':'uuid'}";
    case AB_ANY:
        return "{}";
    default:
        return "{'type':'string'}";
    }
}

/* What the maps in operations' answers are. */
static const struct {
    const char *name;
    const struct ab_schema *schema;
} records[] = {
    {"Job", &ab_job_record_schema},
    {"Message", &ab_message_record_schema},
    {"Session", &ab_session_record_schema},
    {"GalleryItem", &ab_gallery_record_schema},
    {"StoredWorkflow", &ab_workflow_record_schema},
    {"File", &ab_file_record_schema},
    {"Price", &ab_price_schema},
    {"Budget", &ab_budget_record_schema},
    {"Skill", &ab_skill_record_schema},
    {"Usage", &ab_usage_record_schema},
    {"Queue", &ab_queue_record_schema},
    {"TagCount", &ab_tag_count_schema},
    {"SearchHit", &ab_search_hit_schema},
};

/* Which of their fields hold one (or an array) of which. */
static const struct {
    const struct ab_schema *answer;
    const char *key, *shape;
    bool array;
} holders[] = {
    {&ab_op_get_job_answer_schema, "job", "Job", false},
    {&ab_op_list_jobs_answer_schema, "jobs", "Job", true},
    {&ab_op_journal_answer_schema, "events", "Event", true},
    {&ab_op_list_files_answer_schema, "files", "File", true},
    {&ab_op_get_file_answer_schema, "file", "File", false},
    {&ab_op_messages_answer_schema, "messages", "Message", true},
    {&ab_op_save_message_answer_schema, "message", "Message", false},
    {&ab_op_sessions_answer_schema, "sessions", "Session", true},
    {&ab_op_gallery_answer_schema, "gallery", "GalleryItem", true},
    {&ab_op_gallery_item_schema, "gallery", "GalleryItem", false},
    {&ab_op_import_gallery_answer_schema, "gallery", "GalleryItem", false},
    {&ab_gallery_record_schema, "session", "Session", false},
    {&ab_gallery_record_schema, "messages", "Message", true},
    {&ab_op_list_workflows_answer_schema, "workflows", "StoredWorkflow", true},
    {&ab_op_save_workflow_answer_schema, "workflow", "StoredWorkflow", false},
    {&ab_op_get_workflow_answer_schema, "record", "StoredWorkflow", false},
    {&ab_op_list_prices_answer_schema, "prices", "Price", true},
    {&ab_op_list_budgets_answer_schema, "budgets", "Budget", true},
    {&ab_op_status_answer_schema, "workers", "Worker", true},
    {&ab_op_deleted_answer_schema, "jobs", "Id", true},
    {&ab_op_gallery_tags_answer_schema, "tags", "TagCount", true},
    {&ab_op_search_messages_answer_schema, "hits", "SearchHit", true},
    {&ab_op_usage_answer_schema, "usage", "Usage", true},
    {&ab_op_queues_answer_schema, "queues", "Queue", true},
    {&ab_op_list_skills_answer_schema, "skills", "Skill", true},
    {&ab_op_save_skill_answer_schema, "skill", "Skill", false},
    {&ab_op_get_skill_answer_schema, "skill", "Skill", false},
};

static json_t *field_tree(const struct ab_schema *schema, const struct ab_field *field)
{
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++)
        if (holders[i].answer == schema && !strcmp(holders[i].key, field->key)) {
            json_t *one = ref_tree(holders[i].shape);
            return holders[i].array ? json_pack("{s:s, s:o}", "type", "array", "items", one) : one;
        }
    return shape_tree(field_schema(field->type));
}

/* A map of the protocol as JSON. Absent and zero are one, unless a field is required. */
static json_t *map_schema(const struct ab_schema *schema)
{
    json_t *properties = json_object(), *required = json_array();
    for (int i = 0; i < schema->n; i++) {
        json_t *field = field_tree(schema, &schema->fields[i]);
        if (*schema->fields[i].doc)
            json_object_set_new(field, "description", json_string(schema->fields[i].doc));
        json_object_set_new(properties, schema->fields[i].key, field);
        if (schema->fields[i].required)
            json_array_append_new(required, json_string(schema->fields[i].key));
    }
    json_t *tree = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    if (json_array_size(required))
        json_object_set(tree, "required", required);
    json_decref(required);
    return tree;
}

/* ---- one route ---- */

static json_t *content_tree(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *parameters_tree(const struct route *route, const struct arg *args, size_t n)
{
    static const char *const places[] = {[PLACE_PATH] = "path", [PLACE_QUERY] = "query"};
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        enum arg_place place = route_place(route, &args[i]);
        if (place != PLACE_BODY)
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:b, s:o}", "name", args[i].name, "in", places[place], "required",
                                args[i].required || place == PLACE_PATH, "schema", arg_schema(&args[i])));
    }
    return list;
}

/* NULL: it takes none. */
static json_t *body_tree(const struct route *route, const struct arg *args, size_t n)
{
    json_t *properties = json_object(), *required = json_array(), *schema = NULL;
    for (size_t i = 0; i < n; i++) {
        if (route_place(route, &args[i]) != PLACE_BODY)
            continue;
        json_object_set_new(properties, args[i].name, arg_schema(&args[i]));
        if (args[i].required)
            json_array_append_new(required, json_string(args[i].name));
    }
    bool needed = json_array_size(required) || route->body;
    if (route->body)
        schema = ref_tree(route->body);
    else if (json_object_size(properties))
        schema =
            json_pack("{s:s, s:O, s:b}", "type", "object", "properties", properties, "additionalProperties", 0);
    if (schema && json_array_size(required))
        json_object_set(schema, "required", required);
    json_decref(properties);
    json_decref(required);
    return schema ? json_pack("{s:b, s:o}", "required", needed, "content",
                              content_tree("application/json", schema))
                  : NULL;
}

static json_t *success_tree(const struct route *route)
{
    const char *operation = route->answer ? route->answer : route->operation;
    const struct ab_op_row *op = operation ? ab_op_by_name(ab_view_of(operation)) : NULL;
    if (route->flags & ROUTE_STREAM)
        return content_tree("text/event-stream", json_pack("{s:s}", "type", "string"));
    if (route->flags & ROUTE_BYTES)
        return content_tree("*/*", json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
    if (route->flags & ROUTE_TEXT)
        return content_tree("text/plain", json_pack("{s:s}", "type", "string"));
    assert(route->shape || op); /* every answer is described */
    json_t *schema = route->shape ? ref_tree(route->shape) : map_schema(op->answer);
    return content_tree("application/json", schema);
}

static json_t *response_tree(const struct route *route, int status)
{
    const char *text = MHD_get_reason_phrase_for((unsigned)status);
    if (status == MHD_HTTP_NO_CONTENT || status == MHD_HTTP_NOT_MODIFIED)
        return json_pack("{s:s}", "description", text);
    json_t *content =
        status < 300 ? success_tree(route)
        : status == MHD_HTTP_UNPROCESSABLE_CONTENT
            ? content_tree("application/json", ref_tree("SeedFaults"))
            : content_tree("application/json", ref_tree(route->flags & ROUTE_OPENAI ? "OpenAIError" : "Error"));
    return json_pack("{s:s, s:o}", "description", text, "content", content);
}

static json_t *responses_tree(const struct route *route, bool body)
{
    json_t *tree = json_object();
    char *list = ab_format("%s %s", route->answers, route_common_answers(route, body)), *save = NULL;
    for (char *word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (!json_object_get(tree, word))
            json_object_set_new(tree, word, response_tree(route, (int)strtol(word, NULL, 10)));
    free(list);
    return tree;
}

static json_t *route_tree(const struct route *route)
{
    static const char *const scopes[] = {
        [SCOPE_NONE] = "none", [SCOPE_READ] = "read", [SCOPE_WRITE] = "write", [SCOPE_ADMIN] = "admin"};
    struct arg args[ROUTE_FIELDS_MAX];
    size_t n = route_args(route, args);
    json_t *body = body_tree(route, args, n), *parameters = parameters_tree(route, args, n);
    char *id = ab_format("%s %s", route->method, route->path);
    for (char *p = id; *p; p++)
        *p = strchr(" /{}.", *p) ? '_' : *p;
    json_t *tree = json_pack("{s:s, s:s, s:s, s:o}", "operationId", id, "summary", route->summary, "x-scope",
                             scopes[route->scope], "responses", responses_tree(route, body));
    free(id);
    if (route->scope != SCOPE_NONE) /* {}: or nothing, where tokens are not demanded */
        json_object_set_new(tree, "security", json_pack("[{s:[]}, {}]", "token"));
    if (json_array_size(parameters))
        json_object_set(tree, "parameters", parameters);
    if (body)
        json_object_set(tree, "requestBody", body);
    json_decref(parameters);
    json_decref(body);
    return tree;
}

/* ---- the whole ---- */

static json_t *document(void)
{
    json_t *paths = json_object(), *schemas = json_object();
    for (size_t t = 0; route_tables[t]; t++)
        for (const struct route *route = route_tables[t]; route->method; route++) {
            char *method = ab_strdup(route->method);
            for (char *p = method; *p; p++)
                *p = (char)(*p | 32);
            if (!json_object_get(paths, route->path))
                json_object_set_new(paths, route->path, json_object());
            json_object_set_new(json_object_get(paths, route->path), method, route_tree(route));
            free(method);
        }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        json_object_set_new(schemas, shapes[i].name, shape_tree(shapes[i].json));
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        json_object_set_new(schemas, records[i].name, map_schema(records[i].schema));
    return json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}}", "openapi", "3.1.0", "info", "title",
                     "autobots", "version", autobots_version(), "paths", paths, "components", "schemas",
                     schemas, "securitySchemes", "token", "type", "http", "scheme", "bearer");
}

void openapi_handle(struct call *call)
{
    struct gateway *gateway = call->gateway;
    if (!gateway->openapi) {
        json_t *tree = document();
        gateway->openapi = json_line(tree);
        json_decref(tree);
    }
    call_answer_text(call, MHD_HTTP_OK, "application/json", ab_strdup(gateway->openapi));
}
