/** What a policy judges by: the event, its context and the parameters in force. */

import type {
    ConstraintState,
    Context,
    EscalationLevel,
    Event,
    Finding,
    OpenIncident,
    Outcome,
    RepairHistory,
    Value,
} from "./contract.js";

/** A moment by a local clock. */
export interface LocalMoment {
    /** The day of the week, 0 is Monday. */
    readonly weekday: number;
    /** Minutes since midnight, 0 to 1439. */
    readonly minuteOfDay: number;
}

/** One event with everything beside it. */
export class Situation<P> {
    readonly event: Event;
    readonly context: Context;
    /** The parameters in force. */
    readonly parameters: P;

    constructor(event: Event, context: Context, parameters: P) {
        this.event = event;
        this.context = context;
        this.parameters = parameters;
    }

    /** The event's time, milliseconds since the Unix epoch. There is no other clock. */
    get nowMs(): number {
        return this.context.nowMs;
    }

    /** The escalation level in force. */
    get level(): EscalationLevel {
        return this.context.level;
    }

    /** The finding, if the event is one. */
    get finding(): Finding | null {
        return this.event.tag === "finding" ? this.event.val : null;
    }

    /** The outcome, if the event is one. */
    get outcome(): Outcome | null {
        return this.event.tag === "outcome" ? this.event.val : null;
    }

    /** The value of a fact of the finding, whatever its type; null when there is none. */
    fact(name: string): Value["val"] | null {
        return this.finding?.facts.find((fact) => fact.name === name)?.value.val ?? null;
    }

    /** Whether the host offers this repair for the finding. */
    offers(repair: string): boolean {
        return this.finding?.candidates.some((candidate) => candidate.id === repair) ?? false;
    }

    /** What became of one repair on one kind of problem so far. */
    history(kind: string, repair: string): RepairHistory | null {
        return this.context.repairs.find((one) => one.kind === kind && one.repair === repair) ?? null;
    }

    /** The latest value of a main metric. */
    metric(name: string): number | null {
        return this.context.metrics.find((metric) => metric.name === name)?.value ?? null;
    }

    /** Where a constraint stands. */
    constraint(name: string): ConstraintState | null {
        return this.context.constraints.find((one) => one.name === name) ?? null;
    }

    /** An open incident by its identifier. */
    incident(id: string): OpenIncident | null {
        return this.context.incidents.find((one) => one.id === id) ?? null;
    }

    /** The event's own incident, if it is about one. */
    ownIncident(): OpenIncident | null {
        return this.event.tag === "tick" ? null : this.incident(this.event.val.incident);
    }

    /**
     * Who approves a repair of the event's incident at present, each once, in the order of their answers. Of several
     * answers of one person the last one counts; nobody approves what somebody denied since.
     */
    approvals(repair: string): string[] {
        let approve: string[] = [];
        for (const answer of this.ownIncident()?.answers ?? []) {
            if (answer.repair !== repair) {
                continue;
            }
            if (!answer.granted) {
                approve = [];
            } else if (!approve.includes(answer.said.by)) {
                approve.push(answer.said.by);
            }
        }
        return approve;
    }

    /** Minutes that the local time is ahead of UTC at a moment; 0 when the local time is not known. */
    utcOffsetMinutes(atMs: number): number {
        const local = this.context.localTime;
        if (local === null) {
            return 0;
        }
        const change = local.nextChange;
        return change !== null && atMs >= change.atMs ? change.utcOffsetMinutes : local.utcOffsetMinutes;
    }

    /** The local weekday and minute of the day at a moment. */
    local(atMs: number): LocalMoment {
        const minutes = Math.floor(atMs / 60_000) + this.utcOffsetMinutes(atMs);
        const day = Math.floor(minutes / 1440);
        // 1 January 1970 was a Thursday.
        return { weekday: (((day + 3) % 7) + 7) % 7, minuteOfDay: minutes - day * 1440 };
    }

    /** Whether people work on the target at the event. */
    inMaintenance(): boolean {
        return this.context.maintenance.open !== null;
    }
}
