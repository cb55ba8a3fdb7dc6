/* The policy asked natively: quick, and a debugger can stop in it. */
#include "sdk/dbmedic_testing.h"

/* What it says of a lock of this age. */
static uint8_t class_of(int64_t age_ms)
{
    dm_finding_t finding = dm_test_finding("lock.stale-holder");
    dm_test_integer(&finding, "age_ms", age_ms);
    return dm_test_decide(finding).classification.val;
}

int main(void)
{
    assert(class_of(299999) == DM_HICCUP);
    assert(class_of(300000) == DM_OBSTACLE);
    puts("unit tests passed");
    return 0;
}
