;; Wants an interface that only looks like the contract.
(component
  (import "dbmedic:policy/telemetry-write@0.2.0" (instance)))
