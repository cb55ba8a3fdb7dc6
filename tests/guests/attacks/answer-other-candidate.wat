;; A repair that was not offered.
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 336) (i32.const 0x64))
  (i32.const 3072))
