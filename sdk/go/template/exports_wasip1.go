package main

// The functions that the component exports.
import _ "policy/gen/wit_exports"
