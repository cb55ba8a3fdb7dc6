/* The policy's log: notes, what is printed, and what went wrong, with file and line. */
#include "dbmedic_policy.h"

#include <stdarg.h>
#include <stdlib.h>

/* The host keeps as much of a line. */
#define LINE_BYTES 1024

static void write_line(dm_log_level_t level, const char *format, va_list values)
{
    char line[LINE_BYTES];
    int length = vsnprintf(line, sizeof line, format, values);
    if (length < 0)
        return;
    size_t kept = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    if (kept > 0 && line[kept - 1] == '\n')
        kept--;
#ifdef __wasm__
    policy_string_t text = {(uint8_t *)line, kept};
    dbmedic_policy_log_write((uint8_t)level, &text);
#else
    fprintf(stderr, "log %d: %.*s\n", level, (int)kept, line);
#endif
}

void dm_log(dm_log_level_t level, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    write_line(level, format, values);
    va_end(values);
}

void dm_fail(const char *file, int line, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    dm_log(DM_LOG_ERROR, "%s at %s:%d", text, file, line);
    abort();
}

#ifdef __wasm__

/* Undefined behaviour: build.sh has the compiler call these, each with the place that it stands at. */

typedef struct {
    const char *file;
    uint32_t line;
    uint32_t column;
} place_t;

#define CAUGHT(name, what)                                                                         \
    _Noreturn void __ubsan_handle_##name(const place_t *place)                                     \
    {                                                                                              \
        dm_fail(place->file, (int)place->line, what);                                              \
    }
#define CAUGHT_1(name, what)                                                                       \
    _Noreturn void __ubsan_handle_##name(const place_t *place, uintptr_t a)                        \
    {                                                                                              \
        (void)a;                                                                                   \
        dm_fail(place->file, (int)place->line, what);                                              \
    }
#define CAUGHT_2(name, what)                                                                       \
    _Noreturn void __ubsan_handle_##name(const place_t *place, uintptr_t a, uintptr_t b)           \
    {                                                                                              \
        (void)a, (void)b;                                                                          \
        dm_fail(place->file, (int)place->line, what);                                              \
    }

CAUGHT(builtin_unreachable, "a place was reached that cannot be reached")
CAUGHT(missing_return, "a function ended without a value")
CAUGHT(invalid_builtin_abort, "a builtin function was given zero")
CAUGHT(nonnull_arg_abort, "NULL was given where it must not be")
CAUGHT_1(out_of_bounds_abort, "an index is out of bounds")
CAUGHT_1(negate_overflow_abort, "a number overflows")
CAUGHT_1(load_invalid_value_abort, "a value is none of its type")
CAUGHT_1(vla_bound_not_positive_abort, "an array has no positive length")
CAUGHT_1(type_mismatch_v1_abort, "a pointer is NULL or points to no such object")
CAUGHT_2(add_overflow_abort, "a number overflows")
CAUGHT_2(sub_overflow_abort, "a number overflows")
CAUGHT_2(mul_overflow_abort, "a number overflows")
CAUGHT_2(divrem_overflow_abort, "a division by zero, or one that overflows")
CAUGHT_2(shift_out_of_bounds_abort, "a shift is out of bounds")
CAUGHT_2(pointer_overflow_abort, "a pointer overflows")

#endif
