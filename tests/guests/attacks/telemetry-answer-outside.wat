;; Wants the answer outside of its memory.
(import "dbmedic:policy/telemetry@0.2.0" "latest" (func $latest (param i32 i32 i32)))
(func (export "@decide") (param i32) (result i32)
  (call $latest (i32.const 256) (i32.const 6) (i32.const 0x7ffffff0))
  (i32.const 3072))
