;; A repair that is neither there nor not.
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 3084) (i32.const 2))
  (i32.const 3072))
