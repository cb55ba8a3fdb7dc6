;; A reason that is no text.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 320) (i32.const 0xfffefdfc))
  (i32.const 3072))
