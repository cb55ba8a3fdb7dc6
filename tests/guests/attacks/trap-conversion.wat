;; Makes a whole number of what is no number.
(func (export "@decide") (param i32) (result i32)
  (drop (i32.trunc_f64_s (f64.const nan)))
  (i32.const 3072))
