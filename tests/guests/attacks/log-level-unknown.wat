;; Logs at a level that there is not.
(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
(func (export "@decide") (param i32) (result i32)
  (call $log (i32.const 77) (i32.const 256) (i32.const 6))
  (i32.const 3072))
