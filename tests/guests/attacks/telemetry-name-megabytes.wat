;; Asks for a series with a name of eight megabytes.
(import "dbmedic:policy/telemetry@0.2.0" "latest" (func $latest (param i32 i32 i32)))
(memory (export "memory") 200)
(func (export "@decide") (param i32) (result i32)
  (memory.fill (i32.const 131072) (i32.const 0x20) (i32.const 8000000))
  (call $latest (i32.const 131072) (i32.const 8000000) (i32.const 4096))
  (i32.const 3072))
