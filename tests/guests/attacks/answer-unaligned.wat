;; The answer lies askew.
(func (export "@decide") (param i32) (result i32)
  (i32.const 3073))
