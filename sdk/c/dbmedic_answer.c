/* The answer while it is being made, what the SDK answers by itself, and numbers for people. */
#include "dbmedic_policy.h"

#include <stdarg.h>
#include <stdlib.h>

/* How long a level stays without a cause before it returns by one step, milliseconds. */
#define RETURN_MS 600000

static policy_string_t text_of(const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        DM_FAIL("the format is no format: %s", format);
    char *text = malloc((size_t)length + 1);
    if (text == NULL)
        DM_FAIL("out of memory");
    vsnprintf(text, (size_t)length + 1, format, values);
    return (policy_string_t){(uint8_t *)text, (size_t)length};
}

static policy_string_t copy_of(const char *text)
{
    size_t length = strlen(text);
    char *copy = malloc(length + 1);
    if (copy == NULL)
        DM_FAIL("out of memory");
    memcpy(copy, text, length + 1);
    return (policy_string_t){(uint8_t *)copy, length};
}

/* Makes room for one more in a list. */
static void *grown(void *list, size_t length, size_t size)
{
    void *more = realloc(list, (length + 1) * size);
    if (more == NULL)
        DM_FAIL("out of memory");
    return more;
}

/* At least two words of a-z, 0-9 and -, joined by dots. */
static void check_rule(const char *rule)
{
    bool has_dot = false, has_word = false;
    for (const char *at = rule; *at != '\0'; at++) {
        if ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'))
            has_word = true;
        else if (*at == '.' && has_word)
            has_dot = true, has_word = false;
        else if (*at != '-' || !has_word)
            DM_FAIL("`%s` is not the name of a rule: write it like `lock.too-fresh`", rule);
    }
    if (!has_dot || !has_word)
        DM_FAIL("`%s` is not the name of a rule: write it like `lock.too-fresh`", rule);
}

void dm_classify(dm_answer_t *answer, dm_class_t class)
{
    answer->verdict.classification.is_some = true;
    answer->verdict.classification.val = (uint8_t)class;
}

void dm_level(dm_answer_t *answer, dm_level_t level)
{
    answer->verdict.level = (uint8_t)level;
}

void dm_at_least(dm_answer_t *answer, dm_level_t level)
{
    if (level > answer->asked)
        answer->asked = level;
    if (level > (dm_level_t)answer->verdict.level)
        answer->verdict.level = (uint8_t)level;
}

void dm_repair(dm_answer_t *answer, const char *repair, double confidence)
{
    dm_no_repair(answer);
    answer->verdict.repair.is_some = true;
    answer->verdict.repair.val = copy_of(repair);
    answer->verdict.confidence = confidence;
}

void dm_no_repair(dm_answer_t *answer)
{
    if (answer->verdict.repair.is_some)
        free(answer->verdict.repair.val.ptr);
    answer->verdict.repair.is_some = false;
    answer->verdict.needs_approval = false;
    answer->verdict.confidence = 0.0;
}

void dm_needs_approval(dm_answer_t *answer)
{
    answer->verdict.needs_approval = true;
}

void dm_halt(dm_answer_t *answer)
{
    answer->verdict.halt = true;
    dm_no_repair(answer);
}

void dm_verbosity(dm_answer_t *answer, dm_verbosity_t verbosity)
{
    answer->verdict.verbosity = (uint8_t)verbosity;
    answer->has_verbosity = true;
}

void dm_because(dm_answer_t *answer, const char *rule, const char *format, ...)
{
    check_rule(rule);
    va_list values;
    va_start(values, format);
    dm_reason_t reason = {copy_of(rule), text_of(format, values)};
    va_end(values);
    size_t length = answer->verdict.reasons.len;
    answer->verdict.reasons.ptr = grown(answer->verdict.reasons.ptr, length, sizeof reason);
    answer->verdict.reasons.ptr[length] = reason;
    answer->verdict.reasons.len = length + 1;
}

void dm_alert(dm_answer_t *answer, const char *rule, dm_urgency_t urgency, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    dm_alert_t alert = {copy_of(rule), (uint8_t)urgency, text_of(format, values)};
    va_end(values);
    size_t length = answer->verdict.alerts.len;
    answer->verdict.alerts.ptr = grown(answer->verdict.alerts.ptr, length, sizeof alert);
    answer->verdict.alerts.ptr[length] = alert;
    answer->verdict.alerts.len = length + 1;
}

void dm_suggest(dm_answer_t *answer, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    policy_string_t text = text_of(format, values);
    va_end(values);
    size_t length = answer->verdict.suggestions.len;
    for (size_t at = 0; at < length; at++) {
        if (dm_is(&answer->verdict.suggestions.ptr[at], (const char *)text.ptr)) {
            free(text.ptr);
            return;
        }
    }
    answer->verdict.suggestions.ptr = grown(answer->verdict.suggestions.ptr, length, sizeof text);
    answer->verdict.suggestions.ptr[length] = text;
    answer->verdict.suggestions.len = length + 1;
}

void dm_refuse(dm_answer_t *answer, const char *rule, const char *format, ...)
{
    if (answer->is_refused)
        return;
    check_rule(rule);
    va_list values;
    va_start(values, format);
    answer->refusal = (dm_reason_t){copy_of(rule), text_of(format, values)};
    va_end(values);
    answer->is_refused = true;
}

void dm_not_judged(const dm_case_t *at, dm_answer_t *answer)
{
    const dm_finding_t *finding = dm_finding(at);
    if (finding == NULL)
        return;
    dm_classify(answer, DM_WALL);
    dm_because(answer, "policy.not-judged", "this policy has no rule for %.*s",
               (int)finding->kind.len, (const char *)finding->kind.ptr);
}

static dm_level_t called_for(dm_class_t class)
{
    switch (class) {
    case DM_HICCUP:
        return DM_WATCH;
    case DM_OBSTACLE:
        return DM_WARN;
    default:
        return DM_ESCALATE;
    }
}

void dm_rise(dm_answer_t *answer)
{
    if (!answer->verdict.classification.is_some)
        return;
    dm_class_t class = (dm_class_t)answer->verdict.classification.val;
    dm_at_least(answer, called_for(class));
    if (class == DM_CRISIS)
        dm_halt(answer);
}

/* The level that an open incident keeps. The event's own has the class that it was just given. */
static dm_level_t kept_by(const dm_incident_t *open, const dm_case_t *at, const dm_answer_t *answer)
{
    const dm_finding_t *finding = dm_finding(at);
    bool is_own = finding != NULL && finding->incident.len == open->id.len &&
                  memcmp(finding->incident.ptr, open->id.ptr, open->id.len) == 0;
    bool is_known = is_own ? answer->verdict.classification.is_some : open->classification.is_some;
    uint8_t class = is_own ? answer->verdict.classification.val : open->classification.val;
    return is_known ? called_for((dm_class_t)class) : DM_WARN;
}

void dm_come_down(const dm_case_t *at, dm_answer_t *answer, uint64_t after_ms)
{
    static const char *const names[] = {"normal", "watch", "warn", "escalate"};
    dm_level_t present = (dm_level_t)at->context->level;
    uint64_t now_ms = at->context->now_ms, since_ms = at->context->level_since_ms;
    uint64_t quiet_ms = now_ms > since_ms ? now_ms - since_ms : 0;
    if (answer->asked >= present || quiet_ms <= after_ms)
        return;
    for (size_t i = 0; i < at->context->incidents.len; i++)
        if (kept_by(&at->context->incidents.ptr[i], at, answer) >= present)
            return;
    dm_level_t below = present - 1;
    if (answer->asked > below)
        below = answer->asked;
    dm_level(answer, below);
    dm_because(answer, "level.returns", "no cause for it for %s: from %s to %s",
               dm_seconds(quiet_ms).text, names[present], names[below]);
}

void dm_escalate(const dm_case_t *at, dm_answer_t *answer)
{
    dm_rise(answer);
    dm_come_down(at, answer, RETURN_MS);
}

dm_shown_t dm_seconds(uint64_t ms)
{
    dm_shown_t shown;
    snprintf(shown.text, sizeof shown.text, "%llu.%llu s", (unsigned long long)(ms / 1000),
             (unsigned long long)(ms % 1000 / 100));
    return shown;
}

dm_shown_t dm_percent(double value)
{
    dm_shown_t shown;
    double scaled = value * 10.0 + 0.5;
    double bounded = scaled > 9e15 ? 9e15 : scaled < -9e15 ? -9e15 : scaled;
    long long tenths = (long long)bounded;
    if ((double)tenths > bounded)
        tenths--;
    const char *sign = tenths < 0 ? "-" : "";
    if (tenths < 0)
        tenths = -tenths;
    snprintf(shown.text, sizeof shown.text, "%s%lld.%lld %%", sign, tenths / 10, tenths % 10);
    return shown;
}
