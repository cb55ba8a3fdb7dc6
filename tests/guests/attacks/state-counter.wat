;; Remembers outside of its memory how often it was asked.
(global $calls (mut i32) (i32.const 0))
(func (export "@decide") (param i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store (i32.const 4096) (global.get $calls))
  (i32.store (i32.const 3140) (i32.const 4096))
  (i32.store (i32.const 3144) (i32.const 4))
  (i32.const 3072))
