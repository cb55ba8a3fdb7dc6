;; Logs what is no text.
(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 4096) (i32.const 0xfffefdfc))
  (call $log (i32.const 0) (i32.const 4096) (i32.const 4))
  (i32.const 3072))
