;; Calls the host while the host writes the arguments.
(import "dbmedic:policy/telemetry@0.2.0" "latest" (func $latest (param i32 i32 i32)))
(func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
  (if (local.get $size)
    (then (call $latest (i32.const 256) (i32.const 6) (i32.const 4096))))
  (i32.const 65536))
