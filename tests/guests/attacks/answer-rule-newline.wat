;; A rule of two lines, to forge a log.
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 306) (i32.const 10))
  (i32.const 3072))
