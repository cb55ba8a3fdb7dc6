/* Ends stale locks, waits for fresh ones, calls a person for the rest. */
#include "sdk/dbmedic_policy.h"

/* What the operator may set. */
typedef struct {
    int64_t stale_lock_age_ms;
} parameters_t;

static const dm_parameter_t PARAMETERS[] = {
    DM_PARAMETER_INTEGER(parameters_t, stale_lock_age_ms, 300000, 1000, 86400000,
                         "Age from which a write lock counts as stale, milliseconds."),
};

/* What is carried from one event to the next of the same target. */
typedef struct {
    dm_cool_down_t told;
} memory_t;

/* The repair that this policy chooses. */
#define END_HOLDER "lock.end-holder"
/* Failures in a row after which it is not chosen again. */
#define FAILURES 2
/* Nobody is told of a stale lock twice within this time, milliseconds. */
#define PAUSE_MS 600000

/* The stale lock that the event is about, if it is about one whose age is known. */
static bool lock_of(const dm_case_t *at, dm_stale_lock_t *lock)
{
    const dm_finding_t *finding = dm_finding(at);
    return finding != NULL && dm_stale_lock(finding, lock) && lock->age_ms.known;
}

static void classify(const dm_case_t *at, dm_answer_t *answer)
{
    const parameters_t *parameters = at->parameters;
    dm_stale_lock_t lock;
    if (!lock_of(at, &lock)) {
        dm_not_judged(at, answer);
        return;
    }
    uint64_t age_ms = lock.age_ms.value, limit_ms = (uint64_t)parameters->stale_lock_age_ms;
    bool is_fresh = age_ms < limit_ms;
    dm_classify(answer, is_fresh ? DM_HICCUP : DM_OBSTACLE);
    dm_because(answer, is_fresh ? "lock.too-fresh" : "lock.stale", "lock held %s, stale from %s",
               dm_seconds(age_ms).text, dm_seconds(limit_ms).text);
}

static void choose(const dm_case_t *at, dm_answer_t *answer)
{
    const parameters_t *parameters = at->parameters;
    memory_t *memory = at->memory;
    dm_stale_lock_t lock;
    if (!lock_of(at, &lock) || lock.age_ms.value < (uint64_t)parameters->stale_lock_age_ms)
        return;
    uint64_t age_ms = lock.age_ms.value;
    uint32_t failures = dm_failures_in_a_row(at, DM_KIND_stale_lock, END_HOLDER);
    if (failures >= FAILURES)
        dm_because(answer, "lock.keeps-failing", END_HOLDER " failed %u times in a row", failures);
    else if (dm_offers(at, END_HOLDER))
        dm_repair(answer, END_HOLDER, 0.9);
    if (dm_ready(&memory->told, "lock_stale", dm_now_ms(at), PAUSE_MS)) {
        dm_text_t nobody = {true, strlen("a process"), "a process"};
        dm_text_t holder = lock.holder_name.known ? lock.holder_name : nobody;
        dm_alert(answer, "lock_stale", DM_WARNING, "%.*s holds the write lock for %s", DM_TEXT(holder),
                 dm_seconds(age_ms).text);
    }
}

/* What is NULL or missing here, the SDK answers: who must know follows from the class. */
const dm_policy_t dm_policy = {
    .name = "my-policy",
    .version = "0.1.0",
    .summary = "Ends stale locks, waits for fresh ones, calls a person for the rest.",
    .parameters = PARAMETERS,
    .parameter_count = sizeof PARAMETERS / sizeof PARAMETERS[0],
    .parameters_size = sizeof(parameters_t),
    .memory_size = sizeof(memory_t),
    .layout = 1,
    .classify = classify,
    .choose = choose,
};
