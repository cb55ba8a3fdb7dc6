/** What a policy judges by: the event, its context and the parameters in force. */
/** One event with everything beside it. */
export class Situation {
    event;
    context;
    /** The parameters in force. */
    parameters;
    constructor(event, context, parameters) {
        this.event = event;
        this.context = context;
        this.parameters = parameters;
    }
    /** The event's time, milliseconds since the Unix epoch. There is no other clock. */
    get nowMs() {
        return this.context.nowMs;
    }
    /** The escalation level in force. */
    get level() {
        return this.context.level;
    }
    /** The finding, if the event is one. */
    get finding() {
        return this.event.tag === "finding" ? this.event.val : null;
    }
    /** The outcome, if the event is one. */
    get outcome() {
        return this.event.tag === "outcome" ? this.event.val : null;
    }
    /** The value of a fact of the finding, whatever its type; null when there is none. */
    fact(name) {
        return this.finding?.facts.find((fact) => fact.name === name)?.value.val ?? null;
    }
    /** Whether the host offers this repair for the finding. */
    offers(repair) {
        return this.finding?.candidates.some((candidate) => candidate.id === repair) ?? false;
    }
    /** What became of one repair on one kind of problem so far. */
    history(kind, repair) {
        return this.context.repairs.find((one) => one.kind === kind && one.repair === repair) ?? null;
    }
    /** The latest value of a main metric. */
    metric(name) {
        return this.context.metrics.find((metric) => metric.name === name)?.value ?? null;
    }
    /** Where a constraint stands. */
    constraint(name) {
        return this.context.constraints.find((one) => one.name === name) ?? null;
    }
    /** An open incident by its identifier. */
    incident(id) {
        return this.context.incidents.find((one) => one.id === id) ?? null;
    }
    /** The event's own incident, if it is about one. */
    ownIncident() {
        return this.event.tag === "tick" ? null : this.incident(this.event.val.incident);
    }
    /**
     * Who approves a repair of the event's incident at present, each once, in the order of their answers. Of several
     * answers of one person the last one counts; nobody approves what somebody denied since.
     */
    approvals(repair) {
        let approve = [];
        for (const answer of this.ownIncident()?.answers ?? []) {
            if (answer.repair !== repair) {
                continue;
            }
            if (!answer.granted) {
                approve = [];
            }
            else if (!approve.includes(answer.said.by)) {
                approve.push(answer.said.by);
            }
        }
        return approve;
    }
    /** Minutes that the local time is ahead of UTC at a moment; 0 when the local time is not known. */
    utcOffsetMinutes(atMs) {
        const local = this.context.localTime;
        if (local === null) {
            return 0;
        }
        const change = local.nextChange;
        return change !== null && atMs >= change.atMs ? change.utcOffsetMinutes : local.utcOffsetMinutes;
    }
    /** The local weekday and minute of the day at a moment. */
    local(atMs) {
        const minutes = Math.floor(atMs / 60_000) + this.utcOffsetMinutes(atMs);
        const day = Math.floor(minutes / 1440);
        // 1 January 1970 was a Thursday.
        return { weekday: (((day + 3) % 7) + 7) % 7, minuteOfDay: minutes - day * 1440 };
    }
    /** Whether people work on the target at the event. */
    inMaintenance() {
        return this.context.maintenance.open !== null;
    }
}
