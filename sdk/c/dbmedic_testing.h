/* For a policy's native tests: findings to ask about, and what the policy answers to them. Include it in
 * one file that is compiled for this machine, together with the policy and the SDK. */
#ifndef DBMEDIC_TESTING_H
#define DBMEDIC_TESTING_H

#include <stdlib.h>

#include "dbmedic_policy.h"

#define DM_STRING(text) ((policy_string_t){(uint8_t *)(text), strlen(text)})

/* A finding of this kind without facts: incident `i-1`, subject `main`, seen once. */
static inline dm_finding_t dm_test_finding(const char *kind)
{
    dm_finding_t finding = {0};
    finding.incident = DM_STRING("i-1");
    finding.kind = DM_STRING(kind);
    finding.subject = DM_STRING("main");
    finding.summary = DM_STRING(kind);
    finding.severity = 0.5;
    finding.first_seen_ms = finding.last_seen_ms = 1000000;
    finding.sightings = 1;
    return finding;
}

/* Adds a fact that is a whole number. */
static inline void dm_test_integer(dm_finding_t *finding, const char *name, int64_t number)
{
    dbmedic_policy_findings_fact_t fact = {0};
    fact.name = DM_STRING(name);
    fact.value.tag = DBMEDIC_POLICY_FINDINGS_VALUE_INTEGER;
    fact.value.val.integer = number;
    size_t length = finding->facts.len;
    finding->facts.ptr = realloc(finding->facts.ptr, (length + 1) * sizeof fact);
    assert(finding->facts.ptr != NULL);
    finding->facts.ptr[length] = fact;
    finding->facts.len = length + 1;
}

/* Adds a repair that the host offers. */
static inline void dm_test_candidate(dm_finding_t *finding, const char *repair)
{
    dbmedic_policy_findings_candidate_t candidate = {0};
    candidate.id = candidate.summary = DM_STRING(repair);
    candidate.undoable = true;
    size_t length = finding->candidates.len;
    finding->candidates.ptr = realloc(finding->candidates.ptr, (length + 1) * sizeof candidate);
    assert(finding->candidates.ptr != NULL);
    finding->candidates.ptr[length] = candidate;
    finding->candidates.len = length + 1;
}

/* What the policy answers to a finding at 1 000 000 ms, with its parameters' defaults and an empty
 * memory. It is a mistake of the test when the policy refuses. */
static inline dm_verdict_t dm_test_decide(dm_finding_t finding)
{
    exports_dbmedic_policy_decision_list_setting_t none = {0};
    exports_dbmedic_policy_decision_list_setting_error_t errors = {0};
    dm_context_t context = {0};
    context.now_ms = 1000000;
    context.target = DM_STRING("test");
    context.target_kind = DM_STRING("sqlite");
    bool is_good = exports_dbmedic_policy_decision_configure(&none, &context.settings, &errors);
    assert(is_good);
    dm_event_t event = {0};
    event.tag = DBMEDIC_POLICY_SITUATION_EVENT_FINDING;
    event.val.finding = finding;
    dm_verdict_t verdict;
    dm_reason_t refusal;
    is_good = exports_dbmedic_policy_decision_decide(&event, &context, &verdict, &refusal);
    assert(is_good);
    return verdict;
}

/* The functions of the generated bindings that the SDK calls. A test lasts too short to free. */
void dbmedic_policy_findings_value_free(dbmedic_policy_findings_value_t *it) { (void)it; }
void exports_dbmedic_policy_decision_list_setting_free(
    exports_dbmedic_policy_decision_list_setting_t *it) { (void)it; }
void exports_dbmedic_policy_decision_event_free(exports_dbmedic_policy_decision_event_t *it) { (void)it; }
void exports_dbmedic_policy_decision_context_free(exports_dbmedic_policy_decision_context_t *it) { (void)it; }
void exports_dbmedic_policy_decision_verdict_free(exports_dbmedic_policy_decision_verdict_t *it) { (void)it; }

#endif
