;; Asks the host for ever.
(import "dbmedic:policy/telemetry@0.2.0" "latest" (func $latest (param i32 i32 i32)))
(func (export "@decide") (param i32) (result i32)
  (loop $again
    (call $latest (i32.const 256) (i32.const 6) (i32.const 4096))
    (br $again))
  (unreachable))
