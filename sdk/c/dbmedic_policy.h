/* What an author needs to write a dbmedic policy in C.
 *
 * A policy is a `dm_policy` with three questions about every event: what does it mean (classify),
 * which of the offered repairs is to be tried (choose), who must know (escalate). A question that is
 * NULL is answered by the SDK: a finding is a wall, no repair is chosen, the level follows the class.
 *
 * The functions get a case to read and an answer to fill in. They keep nothing between calls but what
 * stands in the case's memory. What `printf` and `puts` print goes to the policy's log; a failed
 * `assert` and undefined behaviour that the compiler notices are told there with file and line. */
#ifndef DBMEDIC_POLICY_H
#define DBMEDIC_POLICY_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gen/policy.h"

typedef dbmedic_policy_findings_finding_t dm_finding_t;
typedef dbmedic_policy_findings_outcome_t dm_outcome_t;
typedef dbmedic_policy_situation_event_t dm_event_t;
typedef dbmedic_policy_situation_context_t dm_context_t;
typedef dbmedic_policy_situation_open_incident_t dm_incident_t;
typedef dbmedic_policy_verdicts_verdict_t dm_verdict_t;
typedef dbmedic_policy_verdicts_reason_t dm_reason_t;
typedef dbmedic_policy_verdicts_alert_t dm_alert_t;

/* What a problem means. */
typedef enum { DM_HICCUP, DM_OBSTACLE, DM_WALL, DM_CRISIS } dm_class_t;
/* Who must know. */
typedef enum { DM_NORMAL, DM_WATCH, DM_WARN, DM_ESCALATE } dm_level_t;
/* How much is written down. */
typedef enum { DM_SUMMARIES, DM_ELEVATED, DM_INCIDENT } dm_verbosity_t;
/* How urgent an alert is. */
typedef enum { DM_INFO, DM_WARNING, DM_CRITICAL } dm_urgency_t;
/* How much a note in the log matters. */
typedef enum { DM_LOG_DEBUG, DM_LOG_INFO, DM_LOG_WARN, DM_LOG_ERROR } dm_log_level_t;

/* ---- Facts. One that is missing, or of another type than asked for, is not known. ---- */

/* A whole number that is not negative: a count, an age, a size. */
typedef struct {
    bool known;
    uint64_t value;
} dm_count_t;

/* A number, whole or not. */
typedef struct {
    bool known;
    double value;
} dm_number_t;

/* True or false. */
typedef struct {
    bool known;
    bool value;
} dm_flag_t;

/* A text, without a NUL at its end: print it with `%.*s` and DM_TEXT(it). */
typedef struct {
    bool known;
    size_t length;
    const char *value;
} dm_text_t;

#define DM_TEXT(text) (int)(text).length, (text).value

dm_count_t dm_count(const dm_finding_t *finding, const char *fact);
dm_number_t dm_number(const dm_finding_t *finding, const char *fact);
dm_flag_t dm_flag(const dm_finding_t *finding, const char *fact);
dm_text_t dm_text(const dm_finding_t *finding, const char *fact);

/* Whether a string of the host's is this text. */
bool dm_is(const policy_string_t *string, const char *text);

/* Typed views of the known problems: `dm_stale_lock_t` with a field for each fact, and
 * `dm_stale_lock(finding, &view)`, which says whether the finding is one. Also DM_KIND_stale_lock. */
#define PROBLEM(kind, name) typedef struct {
#define COUNT(fact) dm_count_t fact;
#define NUMBER(fact) dm_number_t fact;
#define FLAG(fact) dm_flag_t fact;
#define TEXT(fact) dm_text_t fact;
#define END(name)                                                                                  \
    char unused_;                                                                                  \
    }                                                                                              \
    dm_##name##_t;                                                                                 \
    bool dm_##name(const dm_finding_t *finding, dm_##name##_t *view);                              \
    extern const char DM_KIND_##name[];
#include "dbmedic_problems.def"
#undef PROBLEM
#undef COUNT
#undef NUMBER
#undef FLAG
#undef TEXT
#undef END

/* ---- The case: what a policy judges by. ---- */

typedef struct {
    const dm_event_t *event;
    const dm_context_t *context;
    /* The policy's own structs. */
    const void *parameters;
    void *memory;
} dm_case_t;

/* The event's time, milliseconds since the Unix epoch. */
uint64_t dm_now_ms(const dm_case_t *at);
/* The finding or the outcome that the event is; NULL when it is another one. */
const dm_finding_t *dm_finding(const dm_case_t *at);
const dm_outcome_t *dm_outcome(const dm_case_t *at);
/* Whether the host offers this repair for the finding. */
bool dm_offers(const dm_case_t *at, const char *repair);
/* How often a repair of one kind of problem failed since it last succeeded. */
uint32_t dm_failures_in_a_row(const dm_case_t *at, const char *kind, const char *repair);

/* ---- The answer. It begins without a repair, and with the level as it is. ---- */

typedef struct {
    dm_verdict_t verdict;
    /* The highest level that dm_at_least was called with. */
    dm_level_t asked;
    bool has_verbosity;
    bool is_refused;
    dm_reason_t refusal;
} dm_answer_t;

#define DM_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))

void dm_classify(dm_answer_t *answer, dm_class_t class);
/* Sets the level; dm_at_least only raises it. */
void dm_level(dm_answer_t *answer, dm_level_t level);
void dm_at_least(dm_answer_t *answer, dm_level_t level);
/* Chooses a repair; `confidence` says how sure the choice is, 0 to 1. */
void dm_repair(dm_answer_t *answer, const char *repair, double confidence);
void dm_no_repair(dm_answer_t *answer);
/* Has the chosen repair wait for a person, whatever the host's mode. */
void dm_needs_approval(dm_answer_t *answer);
/* Stops: no repair may touch the target until a person releases it. */
void dm_halt(dm_answer_t *answer);
/* How much to write down; without it the level says. */
void dm_verbosity(dm_answer_t *answer, dm_verbosity_t verbosity);
/* Adds a reason, the weightiest first. The rule's name is dotted, such as `lock.too-fresh`. */
void dm_because(dm_answer_t *answer, const char *rule, const char *format, ...) DM_PRINTF(3, 4);
void dm_alert(dm_answer_t *answer, const char *rule, dm_urgency_t urgency, const char *format, ...)
    DM_PRINTF(4, 5);
/* Suggests something to a person, once. */
void dm_suggest(dm_answer_t *answer, const char *format, ...) DM_PRINTF(2, 3);
/* Says that the policy cannot judge; the host then decides cautiously. */
void dm_refuse(dm_answer_t *answer, const char *rule, const char *format, ...) DM_PRINTF(3, 4);

/* What the SDK answers where a question is NULL: to call from one that does more. */
void dm_not_judged(const dm_case_t *at, dm_answer_t *answer);
void dm_escalate(const dm_case_t *at, dm_answer_t *answer);
/* The level rises with the class, and a crisis halts. */
void dm_rise(dm_answer_t *answer);
/* The level returns by one step when it was entered more than `after_ms` ago, this answer calls for
 * less, and no open incident keeps it. dm_escalate does so after ten minutes. */
void dm_come_down(const dm_case_t *at, dm_answer_t *answer, uint64_t after_ms);

/* ---- Numbers as a person reads them, the same in every language of policies. ---- */

typedef struct {
    char text[40];
} dm_shown_t;

/* `4.2 s`, tenths cut off, so that a text never says that a threshold was reached when it was not. */
dm_shown_t dm_seconds(uint64_t ms);
/* `4.2 %`, tenths rounded half up. */
dm_shown_t dm_percent(double value);

/* ---- Pieces of memory. Bounded: the oldest goes when a new one comes. ---- */

#define DM_MOST 64

/* When each of several things last happened. */
typedef struct {
    uint64_t what[DM_MOST];
    uint64_t last_ms[DM_MOST];
    uint64_t used;
} dm_cool_down_t;

/* Whether it may happen now: it never did, or at least `pause_ms` ago. If so, it counts as done. */
bool dm_ready(dm_cool_down_t *rest, const char *what, uint64_t now_ms, uint64_t pause_ms);

/* Counts how often something happened lately. */
typedef struct {
    uint64_t at_ms[DM_MOST];
    uint64_t used;
} dm_window_t;

void dm_window_add(dm_window_t *window, uint64_t now_ms);
/* How often it happened within the last `span_ms`; DM_MOST at most. */
uint32_t dm_window_count(const dm_window_t *window, uint64_t now_ms, uint64_t span_ms);

/* FNV-1a, 64 bits: the same for the same text everywhere and for ever. */
uint64_t dm_fingerprint(const char *text);

/* ---- The log. ---- */

void dm_log(dm_log_level_t level, const char *format, ...) DM_PRINTF(2, 3);
/* Writes what is wrong, with file and line, and breaks off. */
#define DM_FAIL(...) dm_fail(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void dm_fail(const char *file, int line, const char *format, ...) DM_PRINTF(3, 4);

/* What is printed goes to the log, one call a line. */
#ifdef __wasm__
#define printf(...) dm_log(DM_LOG_INFO, __VA_ARGS__)
#define puts(text) dm_log(DM_LOG_INFO, "%s", text)
/* The C library's own would say it to nobody, and is left out by NDEBUG. */
#undef assert
#define assert(condition)                                                                          \
    ((condition) ? (void)0 : dm_fail(__FILE__, __LINE__, "assertion failed: %s", #condition))
#endif

/* ---- The policy. ---- */

typedef enum { DM_IS_INTEGER, DM_IS_NUMBER, DM_IS_BOOLEAN, DM_IS_TEXT } dm_type_t;

/* One parameter: a field of the policy's struct of parameters. */
typedef struct {
    const char *name;
    const char *summary;
    dm_type_t type;
    size_t offset;
    size_t size;
    double default_number;
    const char *default_text;
    double minimum;
    double maximum;
} dm_parameter_t;

/* A field of the type int64_t, double, bool or char[N]. */
#define DM_PARAMETER_INTEGER(type, field, value, least, most, summary)                             \
    {#field, summary, DM_IS_INTEGER, offsetof(type, field), sizeof(int64_t), value, 0, least, most}
#define DM_PARAMETER_NUMBER(type, field, value, least, most, summary)                              \
    {#field, summary, DM_IS_NUMBER, offsetof(type, field), sizeof(double), value, 0, least, most}
#define DM_PARAMETER_BOOLEAN(type, field, value, summary)                                          \
    {#field, summary, DM_IS_BOOLEAN, offsetof(type, field), sizeof(bool), value, 0, 0, 0}
#define DM_PARAMETER_TEXT(type, field, value, summary)                                             \
    {#field, summary, DM_IS_TEXT, offsetof(type, field), sizeof(((type *)0)->field), 0, value, 0, 0}

typedef struct {
    /* Stable name in kebab-case, version as semver, one line for a person. */
    const char *name;
    const char *version;
    const char *summary;
    const dm_parameter_t *parameters;
    size_t parameter_count;
    size_t parameters_size;
    size_t memory_size;
    /* Raise it when one of the structs changes: bytes of another layout are then not misread. */
    uint8_t layout;
    void (*classify)(const dm_case_t *at, dm_answer_t *answer);
    void (*choose)(const dm_case_t *at, dm_answer_t *answer);
    void (*escalate)(const dm_case_t *at, dm_answer_t *answer);
} dm_policy_t;

/* The policy defines it. */
extern const dm_policy_t dm_policy;

#endif
