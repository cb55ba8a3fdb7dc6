;; Imports telemetry with other types.
(component
  (import "dbmedic:policy/telemetry@0.2.0" (instance
    (export "latest" (func (param "path" string) (result u32))))))
