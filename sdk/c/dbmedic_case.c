/* What a policy judges by: facts, the case, typed views of known problems, and pieces of memory. */
#include "dbmedic_policy.h"

typedef dbmedic_policy_findings_value_t value_t;

bool dm_is(const policy_string_t *string, const char *text)
{
    size_t length = strlen(text);
    return string->len == length && memcmp(string->ptr, text, length) == 0;
}

static const value_t *value_of(const dm_finding_t *finding, const char *fact, uint8_t tag)
{
    for (size_t at = 0; at < finding->facts.len; at++) {
        const dbmedic_policy_findings_fact_t *known = &finding->facts.ptr[at];
        if (dm_is(&known->name, fact))
            return known->value.tag == tag ? &known->value : NULL;
    }
    return NULL;
}

dm_count_t dm_count(const dm_finding_t *finding, const char *fact)
{
    const value_t *value = value_of(finding, fact, DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER);
    if (value == NULL || value->val.integer < 0)
        return (dm_count_t){false, 0};
    return (dm_count_t){true, (uint64_t)value->val.integer};
}

dm_number_t dm_number(const dm_finding_t *finding, const char *fact)
{
    const value_t *value = value_of(finding, fact, DBMEDIC_POLICY_FINDINGS_VALUE_NUMBER);
    if (value != NULL)
        return (dm_number_t){true, value->val.number};
    value = value_of(finding, fact, DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER);
    if (value != NULL)
        return (dm_number_t){true, (double)value->val.integer};
    return (dm_number_t){false, 0.0};
}

dm_flag_t dm_flag(const dm_finding_t *finding, const char *fact)
{
    const value_t *value = value_of(finding, fact, DBMEDIC_POLICY_FINDINGS_VALUE_BOOLEAN);
    if (value == NULL)
        return (dm_flag_t){false, false};
    return (dm_flag_t){true, value->val.boolean};
}

dm_text_t dm_text(const dm_finding_t *finding, const char *fact)
{
    const value_t *value = value_of(finding, fact, DBMEDIC_POLICY_FINDINGS_VALUE_TEXT);
    if (value == NULL)
        return (dm_text_t){false, 0, ""};
    return (dm_text_t){true, value->val.text.len, (const char *)value->val.text.ptr};
}

#define PROBLEM(kind, name)                                                                        \
    const char DM_KIND_##name[] = kind;                                                            \
    static void read_##name(const dm_finding_t *finding, dm_##name##_t *view)                      \
    {
#define COUNT(fact) view->fact = dm_count(finding, #fact);
#define NUMBER(fact) view->fact = dm_number(finding, #fact);
#define FLAG(fact) view->fact = dm_flag(finding, #fact);
#define TEXT(fact) view->fact = dm_text(finding, #fact);
#define END(name)                                                                                  \
    (void)finding;                                                                                 \
    view->unused_ = 0;                                                                             \
    }                                                                                              \
    bool dm_##name(const dm_finding_t *finding, dm_##name##_t *view)                               \
    {                                                                                              \
        if (!dm_is(&finding->kind, DM_KIND_##name))                                              \
            return false;                                                                          \
        read_##name(finding, view);                                                                \
        return true;                                                                               \
    }
#include "dbmedic_problems.def"
#undef PROBLEM
#undef COUNT
#undef NUMBER
#undef FLAG
#undef TEXT
#undef END

uint64_t dm_now_ms(const dm_case_t *at)
{
    return at->context->now_ms;
}

const dm_finding_t *dm_finding(const dm_case_t *at)
{
    bool is_finding = at->event->tag == DBMEDIC_POLICY_SITUATION_EVENT_FINDING;
    return is_finding ? &at->event->val.finding : NULL;
}

const dm_outcome_t *dm_outcome(const dm_case_t *at)
{
    bool is_outcome = at->event->tag == DBMEDIC_POLICY_SITUATION_EVENT_OUTCOME;
    return is_outcome ? &at->event->val.outcome : NULL;
}

bool dm_offers(const dm_case_t *at, const char *repair)
{
    const dm_finding_t *finding = dm_finding(at);
    for (size_t i = 0; finding != NULL && i < finding->candidates.len; i++)
        if (dm_is(&finding->candidates.ptr[i].id, repair))
            return true;
    return false;
}

uint32_t dm_failures_in_a_row(const dm_case_t *at, const char *kind, const char *repair)
{
    for (size_t i = 0; i < at->context->repairs.len; i++) {
        const dbmedic_policy_situation_repair_history_t *one = &at->context->repairs.ptr[i];
        if (dm_is(&one->kind, kind) && dm_is(&one->repair, repair))
            return one->failures_in_a_row;
    }
    return 0;
}

uint64_t dm_fingerprint(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

static void forget(dm_cool_down_t *rest, uint64_t at)
{
    uint64_t behind = rest->used - at - 1;
    memmove(&rest->what[at], &rest->what[at + 1], behind * sizeof rest->what[0]);
    memmove(&rest->last_ms[at], &rest->last_ms[at + 1], behind * sizeof rest->last_ms[0]);
    rest->used--;
}

bool dm_ready(dm_cool_down_t *rest, const char *what, uint64_t now_ms, uint64_t pause_ms)
{
    uint64_t key = dm_fingerprint(what);
    if (rest->used > DM_MOST)
        rest->used = 0;
    for (uint64_t at = 0; at < rest->used; at++) {
        if (rest->what[at] != key)
            continue;
        /* The clock may have been set back: then it was just now. */
        if (rest->last_ms[at] > now_ms)
            rest->last_ms[at] = now_ms;
        if (now_ms - rest->last_ms[at] < pause_ms)
            return false;
        forget(rest, at);
        break;
    }
    if (rest->used == DM_MOST)
        forget(rest, 0);
    rest->what[rest->used] = key;
    rest->last_ms[rest->used] = now_ms;
    rest->used++;
    return true;
}

void dm_window_add(dm_window_t *window, uint64_t now_ms)
{
    if (window->used > DM_MOST)
        window->used = 0;
    if (window->used == DM_MOST) {
        memmove(&window->at_ms[0], &window->at_ms[1], (DM_MOST - 1) * sizeof window->at_ms[0]);
        window->used--;
    }
    window->at_ms[window->used++] = now_ms;
}

uint32_t dm_window_count(const dm_window_t *window, uint64_t now_ms, uint64_t span_ms)
{
    uint32_t count = 0;
    for (uint64_t at = 0; at < window->used && at < DM_MOST; at++) {
        uint64_t ago_ms = now_ms > window->at_ms[at] ? now_ms - window->at_ms[at] : 0;
        if (ago_ms <= span_ms)
            count++;
    }
    return count;
}
