/* Ends stale locks, but never those of the programs that hold them on purpose: they are told by name, after a while. */
#include "sdk/dbmedic_policy.h"

/* What the operator may set. */
typedef struct {
    int64_t stale_lock_age_ms;
    int64_t backup_hours;
} parameters_t;

static const dm_parameter_t PARAMETERS[] = {
    DM_PARAMETER_INTEGER(parameters_t, stale_lock_age_ms, 300000, 1000, 86400000,
                         "Age from which a write lock counts as stale, milliseconds."),
    DM_PARAMETER_INTEGER(parameters_t, backup_hours, 4, 1, 168,
                         "A backup that holds a lock for so many hours is told to a person."),
};

/* Programs that hold a lock on purpose, as `ps -o comm` shows them. */
static const char *const ON_PURPOSE[] = {"backup", "litestream", "pg_dump", "restic", "rsync"};

static bool is_on_purpose(dm_text_t name)
{
    for (size_t i = 0; name.known && i < sizeof ON_PURPOSE / sizeof ON_PURPOSE[0]; i++)
        if (name.length == strlen(ON_PURPOSE[i]) && memcmp(name.value, ON_PURPOSE[i], name.length) == 0)
            return true;
    return false;
}

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
    uint64_t age_ms = lock.age_ms.value;
    if (is_on_purpose(lock.holder_name)) {
        bool is_long = age_ms >= (uint64_t)parameters->backup_hours * 3600000;
        dm_classify(answer, is_long ? DM_WALL : DM_HICCUP);
        dm_because(answer, is_long ? "backup.long" : "backup.works", "%.*s holds the write lock for %s",
                   DM_TEXT(lock.holder_name), dm_seconds(age_ms).text);
        if (is_long)
            dm_suggest(answer, "Look whether %.*s still works; it is never ended here.", DM_TEXT(lock.holder_name));
        return;
    }
    bool is_fresh = age_ms < (uint64_t)parameters->stale_lock_age_ms;
    dm_classify(answer, is_fresh ? DM_HICCUP : DM_OBSTACLE);
    dm_because(answer, is_fresh ? "lock.too-fresh" : "lock.stale", "lock held %s", dm_seconds(age_ms).text);
}

static void choose(const dm_case_t *at, dm_answer_t *answer)
{
    const parameters_t *parameters = at->parameters;
    dm_stale_lock_t lock;
    /* A holder without a name may be the backup. */
    if (!lock_of(at, &lock) || !lock.holder_name.known || is_on_purpose(lock.holder_name))
        return;
    if (lock.age_ms.value >= (uint64_t)parameters->stale_lock_age_ms && dm_offers(at, "lock.end-holder"))
        dm_repair(answer, "lock.end-holder", 0.9);
}

const dm_policy_t dm_policy = {
    .name = "never-the-backup",
    .version = "0.1.0",
    .summary = "Ends stale locks, but never those of backups.",
    .parameters = PARAMETERS,
    .parameter_count = sizeof PARAMETERS / sizeof PARAMETERS[0],
    .parameters_size = sizeof(parameters_t),
    .layout = 1,
    .classify = classify,
    .choose = choose,
};
