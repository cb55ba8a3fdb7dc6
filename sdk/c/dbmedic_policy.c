/* The three functions of the contract, made of a `dm_policy`. */
#include "dbmedic_policy.h"

#include <math.h>
#include <stdlib.h>

/* What the contract allows for settings and for memory, bytes. */
#define LIMIT_BYTES 16384
/* In front of both stand the layout and the fingerprint of the policy's name: the bytes may be those of
 * another policy. */
#define MARK_BYTES 9

typedef dbmedic_policy_findings_value_t value_t;
typedef exports_dbmedic_policy_decision_setting_t setting_t;
typedef exports_dbmedic_policy_decision_setting_error_t setting_error_t;

static void *room(size_t bytes)
{
    void *at = calloc(1, bytes == 0 ? 1 : bytes);
    if (at == NULL)
        DM_FAIL("out of memory");
    return at;
}

static policy_string_t copy_of(const char *text)
{
    size_t length = strlen(text);
    uint8_t *copy = room(length + 1);
    memcpy(copy, text, length);
    return (policy_string_t){copy, length};
}

/* ---- Settings and memory as bytes. ---- */

static void mark(uint8_t *bytes)
{
    uint64_t owner = dm_fingerprint(dm_policy.name);
    bytes[0] = dm_policy.layout;
    for (int at = 1; at < MARK_BYTES; at++, owner >>= 8)
        bytes[at] = (uint8_t)owner;
}

static policy_list_u8_t pack(const void *value, size_t size)
{
    uint8_t *bytes = room(MARK_BYTES + size);
    mark(bytes);
    memcpy(bytes + MARK_BYTES, value, size);
    return (policy_list_u8_t){bytes, MARK_BYTES + size};
}

/* Why the bytes cannot be read; NULL when they were. */
static const char *unpack(const policy_list_u8_t *bytes, void *value, size_t size)
{
    uint8_t expected[MARK_BYTES];
    mark(expected);
    if (bytes->len == 0)
        return "they are empty";
    if (bytes->len < MARK_BYTES || memcmp(bytes->ptr, expected, MARK_BYTES) != 0)
        return "another policy or another version wrote them";
    if (bytes->len != MARK_BYTES + size)
        return "they are damaged";
    memcpy(value, bytes->ptr + MARK_BYTES, size);
    return NULL;
}

/* ---- describe ---- */

static value_t default_of(const dm_parameter_t *parameter)
{
    value_t value = {0};
    switch (parameter->type) {
    case DM_IS_INTEGER:
        value.tag = DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER;
        value.val.integer = (int64_t)parameter->default_number;
        break;
    case DM_IS_NUMBER:
        value.tag = DBMEDIC_POLICY_FINDINGS_VALUE_NUMBER;
        value.val.number = parameter->default_number;
        break;
    case DM_IS_BOOLEAN:
        value.tag = DBMEDIC_POLICY_FINDINGS_VALUE_BOOLEAN;
        value.val.boolean = parameter->default_number != 0.0;
        break;
    case DM_IS_TEXT:
        value.tag = DBMEDIC_POLICY_FINDINGS_VALUE_TEXT;
        value.val.text = copy_of(parameter->default_text);
        break;
    }
    return value;
}

static bool is_numeric(const dm_parameter_t *parameter)
{
    return parameter->type == DM_IS_INTEGER || parameter->type == DM_IS_NUMBER;
}

void exports_dbmedic_policy_decision_describe(exports_dbmedic_policy_decision_description_t *ret)
{
    size_t count = dm_policy.parameter_count;
    ret->name = copy_of(dm_policy.name);
    ret->version = copy_of(dm_policy.version);
    ret->summary = copy_of(dm_policy.summary);
    ret->parameters.len = count;
    ret->parameters.ptr = room(count * sizeof *ret->parameters.ptr);
    for (size_t at = 0; at < count; at++) {
        const dm_parameter_t *parameter = &dm_policy.parameters[at];
        exports_dbmedic_policy_decision_parameter_t *told = &ret->parameters.ptr[at];
        told->name = copy_of(parameter->name);
        told->summary = copy_of(parameter->summary);
        told->default_ = default_of(parameter);
        told->minimum.is_some = told->maximum.is_some = is_numeric(parameter);
        told->minimum.val = parameter->minimum;
        told->maximum.val = parameter->maximum;
    }
}

/* ---- configure ---- */

/* A number as short as it can be and still be the same one. */
static void show_number(char *text, size_t size, double number)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            return;
    }
}

static void show(char *text, size_t size, const value_t *value)
{
    switch (value->tag) {
    case DBMEDIC_POLICY_FINDINGS_VALUE_BOOLEAN:
        snprintf(text, size, "%s", value->val.boolean ? "true" : "false");
        break;
    case DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER:
        snprintf(text, size, "%lld", (long long)value->val.integer);
        break;
    case DBMEDIC_POLICY_FINDINGS_VALUE_NUMBER:
        show_number(text, size, value->val.number);
        break;
    case DBMEDIC_POLICY_FINDINGS_VALUE_TEXT:
        snprintf(text, size, "\"%.*s\"", (int)value->val.text.len, (char *)value->val.text.ptr);
        break;
    default:
        snprintf(text, size, "a list");
    }
}

/* Sets a parameter; what is wrong goes to `message`. */
static bool set(void *parameters, const dm_parameter_t *parameter, const value_t *value,
                char *message, size_t size)
{
    static const char *const expected[] = {"a whole number", "a number", "true or false", "a text"};
    char shown[128], least[40], most[40];
    uint8_t *field = (uint8_t *)parameters + parameter->offset;
    bool is_integer = value->tag == DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER;
    bool is_number = value->tag == DBMEDIC_POLICY_FINDINGS_VALUE_NUMBER;
    double number = is_integer ? (double)value->val.integer : is_number ? value->val.number : 0.0;
    bool is_right = parameter->type == DM_IS_INTEGER   ? is_integer
                    : parameter->type == DM_IS_NUMBER  ? is_integer || is_number
                    : parameter->type == DM_IS_BOOLEAN ? value->tag == DBMEDIC_POLICY_FINDINGS_VALUE_BOOLEAN
                                                       : value->tag == DBMEDIC_POLICY_FINDINGS_VALUE_TEXT;
    show(shown, sizeof shown, value);
    if (!is_right) {
        snprintf(message, size, "%s is not %s", shown, expected[parameter->type]);
        return false;
    }
    /* What is no number lies within no bounds. */
    if (is_numeric(parameter) && !(number >= parameter->minimum && number <= parameter->maximum)) {
        show_number(least, sizeof least, parameter->minimum);
        show_number(most, sizeof most, parameter->maximum);
        snprintf(message, size, "%s is out of bounds; allowed is %s to %s", shown, least, most);
        return false;
    }
    switch (parameter->type) {
    case DM_IS_INTEGER:
        memcpy(field, &value->val.integer, sizeof value->val.integer);
        break;
    case DM_IS_NUMBER:
        memcpy(field, &number, sizeof number);
        break;
    case DM_IS_BOOLEAN:
        memcpy(field, &value->val.boolean, sizeof value->val.boolean);
        break;
    case DM_IS_TEXT:
        if (value->val.text.len >= parameter->size) {
            snprintf(message, size, "%s is too long; %zu bytes are the most", shown, parameter->size - 1);
            return false;
        }
        memset(field, 0, parameter->size);
        memcpy(field, value->val.text.ptr, value->val.text.len);
        break;
    }
    return true;
}

/* How many letters must be changed, put in or taken out to make one name of the other. */
static size_t distance(const policy_string_t *name, const char *other)
{
    size_t row[65], length = strlen(other);
    if (length > 64 || name->len > 64)
        return 64;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; i <= name->len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t changed = corner + (name->ptr[i - 1] != (uint8_t)other[j - 1]);
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            corner = row[j];
            row[j] = changed < least ? changed : least;
        }
    }
    return row[length];
}

static void tell_unknown(const policy_string_t *name, char *message, size_t size)
{
    const char *nearest = NULL;
    size_t least = name->len / 4 + 1;
    for (size_t at = 0; at < dm_policy.parameter_count; at++) {
        size_t changes = distance(name, dm_policy.parameters[at].name);
        if (changes <= least)
            least = changes, nearest = dm_policy.parameters[at].name;
    }
    if (nearest != NULL) {
        snprintf(message, size, "there is no such parameter; did you mean `%s`?", nearest);
        return;
    }
    size_t used = (size_t)snprintf(message, size, "there is no such parameter; there are ");
    for (size_t at = 0; at < dm_policy.parameter_count && used < size; at++)
        used += (size_t)snprintf(message + used, size - used, "%s%s", at == 0 ? "" : ", ",
                                 dm_policy.parameters[at].name);
}

static bool is_same(const policy_string_t *one, const policy_string_t *other)
{
    return one->len == other->len && memcmp(one->ptr, other->ptr, one->len) == 0;
}

/* Takes one setting of several; what is wrong goes to `message`. */
static bool take(void *parameters, const setting_t *settings, size_t at, char *message, size_t size)
{
    const policy_string_t *name = &settings[at].name;
    for (size_t earlier = 0; earlier < at; earlier++) {
        if (is_same(&settings[earlier].name, name)) {
            snprintf(message, size, "it is set more than once; keep one");
            return false;
        }
    }
    for (size_t i = 0; i < dm_policy.parameter_count; i++)
        if (dm_is(name, dm_policy.parameters[i].name))
            return set(parameters, &dm_policy.parameters[i], &settings[at].value, message, size);
    tell_unknown(name, message, size);
    return false;
}

bool exports_dbmedic_policy_decision_configure(
    exports_dbmedic_policy_decision_list_setting_t *settings, policy_list_u8_t *ret,
    exports_dbmedic_policy_decision_list_setting_error_t *err)
{
    char message[1024];
    void *parameters = room(dm_policy.parameters_size);
    for (size_t at = 0; at < dm_policy.parameter_count; at++) {
        value_t value = default_of(&dm_policy.parameters[at]);
        if (!set(parameters, &dm_policy.parameters[at], &value, message, sizeof message))
            DM_FAIL("the default of %s: %s", dm_policy.parameters[at].name, message);
        dbmedic_policy_findings_value_free(&value);
    }
    err->ptr = room(settings->len * sizeof *err->ptr);
    err->len = 0;
    for (size_t at = 0; at < settings->len; at++) {
        if (take(parameters, settings->ptr, at, message, sizeof message))
            continue;
        setting_error_t *error = &err->ptr[err->len++];
        error->message = copy_of(message);
        error->name.len = settings->ptr[at].name.len;
        error->name.ptr = room(error->name.len);
        memcpy(error->name.ptr, settings->ptr[at].name.ptr, error->name.len);
    }
    bool is_good = err->len == 0;
    if (is_good) {
        free(err->ptr);
        *ret = pack(parameters, dm_policy.parameters_size);
    }
    free(parameters);
    exports_dbmedic_policy_decision_list_setting_free(settings);
    return is_good;
}

/* ---- decide ---- */

static void ask(const dm_case_t *at, dm_answer_t *answer)
{
    if (dm_policy.classify != NULL)
        dm_policy.classify(at, answer);
    else
        dm_not_judged(at, answer);
    if (dm_policy.choose != NULL)
        dm_policy.choose(at, answer);
    if (dm_policy.escalate != NULL)
        dm_policy.escalate(at, answer);
    else
        dm_escalate(at, answer);
    if (!answer->has_verbosity) {
        dm_level_t level = (dm_level_t)answer->verdict.level;
        answer->verdict.verbosity = level == DM_NORMAL     ? DM_SUMMARIES
                                    : level == DM_ESCALATE ? DM_INCIDENT
                                                           : DM_ELEVATED;
    }
}

static void judge(const dm_case_t *at, dm_answer_t *answer)
{
    const policy_list_u8_t *remembered = &at->context->memory;
    const char *why = unpack(remembered, at->memory, dm_policy.memory_size);
    ask(at, answer);
    if (why != NULL && remembered->len > 0)
        dm_because(answer, "memory.unreadable",
                   "what was remembered could not be read, and is begun anew: %s", why);
    if (MARK_BYTES + dm_policy.memory_size <= LIMIT_BYTES)
        answer->verdict.memory = pack(at->memory, dm_policy.memory_size);
    else
        dm_because(answer, "memory.too-large", "the policy's memory exceeds %d bytes and was dropped",
                   LIMIT_BYTES);
}

bool exports_dbmedic_policy_decision_decide(exports_dbmedic_policy_decision_event_t *event,
                                            exports_dbmedic_policy_decision_context_t *context,
                                            exports_dbmedic_policy_decision_verdict_t *ret,
                                            exports_dbmedic_policy_decision_reason_t *err)
{
    void *parameters = room(dm_policy.parameters_size);
    void *memory = room(dm_policy.memory_size);
    dm_answer_t answer = {0};
    answer.verdict.level = context->level;
    const char *why = unpack(&context->settings, parameters, dm_policy.parameters_size);
    if (why != NULL)
        dm_refuse(&answer, "settings.unreadable",
                  "the settings cannot be read: %s; have `configure` pack them again", why);
    else
        judge(&(dm_case_t){event, context, parameters, memory}, &answer);
    free(memory);
    free(parameters);
    exports_dbmedic_policy_decision_event_free(event);
    exports_dbmedic_policy_decision_context_free(context);
    if (answer.is_refused) {
        exports_dbmedic_policy_decision_verdict_free(&answer.verdict);
        *err = answer.refusal;
        return false;
    }
    *ret = answer.verdict;
    return true;
}

/* The bindings ask for an object file with the contract in it; `dbmedic policy component` puts the
 * contract in instead. */
void __component_type_object_force_link_policy(void);

void __component_type_object_force_link_policy(void) {}
