;; Remembers the bits of a number that is none: the same on every machine.
(func (export "@decide") (param i32) (result i32)
  (f64.store (i32.const 4096)
    (f64.div (f64.load (i32.const 4096)) (f64.load (i32.const 4096))))
  (i32.store (i32.const 3140) (i32.const 4096))
  (i32.store (i32.const 3144) (i32.const 8))
  (i32.const 3072))
