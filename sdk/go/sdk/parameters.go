package sdk

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"policy/gen/dbmedic_policy_findings"
)

// Parameters are the fields of a struct, each an int64, float64, bool or string, with tags:
//
//	StaleLockAgeMs int64 `name:"stale_lock_age_ms" default:"300000" minimum:"1000" maximum:"86400000" summary:"…"`
func schema[P any]() []Parameter {
	var told []Parameter
	for _, field := range fieldsOf[P]() {
		told = append(told, Parameter{
			Name:    field.Tag.Get("name"),
			Summary: field.Tag.Get("summary"),
			Default: defaultOf(field),
			Minimum: bound(field, "minimum"),
			Maximum: bound(field, "maximum"),
		})
	}
	return told
}

func fieldsOf[P any]() []reflect.StructField {
	return reflect.VisibleFields(reflect.TypeFor[P]())
}

func defaultOf(field reflect.StructField) Value {
	text := field.Tag.Get("default")
	var value Value
	var err error
	switch field.Type.Kind() {
	case reflect.Int64:
		var whole int64
		whole, err = strconv.ParseInt(text, 10, 64)
		value = dbmedic_policy_findings.MakeValueInteger(whole)
	case reflect.Float64:
		var number float64
		number, err = strconv.ParseFloat(text, 64)
		value = dbmedic_policy_findings.MakeValueNumber(number)
	case reflect.Bool:
		var flag bool
		flag, err = strconv.ParseBool(text)
		value = dbmedic_policy_findings.MakeValueBoolean(flag)
	case reflect.String:
		value = dbmedic_policy_findings.MakeValueText(text)
	default:
		panic(fmt.Sprintf("the parameter %s is of the type %s; write int64, float64, bool or string", field.Name, field.Type))
	}
	if err != nil {
		panic(fmt.Sprintf("the default of the parameter %s: %v", field.Name, err))
	}
	return value
}

func bound(field reflect.StructField, tag string) witTypes.Option[float64] {
	text, isThere := field.Tag.Lookup(tag)
	if !isThere {
		return witTypes.None[float64]()
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("the %s of the parameter %s: %v", tag, field.Name, err))
	}
	return witTypes.Some(number)
}

func fromSettings[P any](settings []Setting) (P, []SettingError) {
	var parameters P
	var errors []SettingError
	into := reflect.ValueOf(&parameters).Elem()
	fields := fieldsOf[P]()
	for _, field := range fields {
		if message := set(into, field, defaultOf(field)); message != "" {
			panic(fmt.Sprintf("the default of the parameter %s: %s", field.Name, message))
		}
	}
	taken := map[string]bool{}
	for _, setting := range settings {
		message := take(into, fields, setting)
		if taken[setting.Name] {
			message = "it is set more than once; keep one"
		}
		taken[setting.Name] = true
		if message != "" {
			errors = append(errors, SettingError{Name: setting.Name, Message: message})
		}
	}
	return parameters, errors
}

func take(into reflect.Value, fields []reflect.StructField, setting Setting) string {
	var names []string
	nearest, least := "", len(setting.Name)/4+1
	for _, field := range fields {
		name := field.Tag.Get("name")
		if name == setting.Name {
			return set(into, field, setting.Value)
		}
		names = append(names, name)
		if changes := distance(setting.Name, name); changes <= least {
			nearest, least = name, changes
		}
	}
	if nearest != "" {
		return fmt.Sprintf("there is no such parameter; did you mean `%s`?", nearest)
	}
	return "there is no such parameter; there are " + strings.Join(names, ", ")
}

// What is wrong with a value; empty when it was set.
func set(into reflect.Value, field reflect.StructField, value Value) string {
	at := into.FieldByIndex(field.Index)
	isWhole := value.Tag() == dbmedic_policy_findings.ValueInteger
	isNumber := value.Tag() == dbmedic_policy_findings.ValueNumber
	var number float64
	if isWhole {
		number = float64(value.Integer())
	} else if isNumber {
		number = value.Number()
	}
	kind := field.Type.Kind()
	switch {
	case kind == reflect.Int64 && isWhole:
		at.SetInt(value.Integer())
	case kind == reflect.Float64 && (isWhole || isNumber):
		at.SetFloat(number)
	case kind == reflect.Bool && value.Tag() == dbmedic_policy_findings.ValueBoolean:
		at.SetBool(value.Boolean())
	case kind == reflect.String && value.Tag() == dbmedic_policy_findings.ValueText:
		at.SetString(value.Text())
	default:
		expected := map[reflect.Kind]string{reflect.Int64: "a whole number", reflect.Float64: "a number", reflect.Bool: "true or false", reflect.String: "a text"}
		return fmt.Sprintf("%s is not %s", shown(value), expected[kind])
	}
	least, most := bound(field, "minimum"), bound(field, "maximum")
	// What is no number lies within no bounds.
	isWithin := (least.IsNone() || number >= least.Some()) && (most.IsNone() || number <= most.Some())
	if (kind == reflect.Int64 || kind == reflect.Float64) && !isWithin {
		return fmt.Sprintf("%s is out of bounds; allowed is %s to %s", shown(value), field.Tag.Get("minimum"), field.Tag.Get("maximum"))
	}
	return ""
}

func shown(value Value) string {
	switch value.Tag() {
	case dbmedic_policy_findings.ValueBoolean:
		return strconv.FormatBool(value.Boolean())
	case dbmedic_policy_findings.ValueInteger:
		return strconv.FormatInt(value.Integer(), 10)
	case dbmedic_policy_findings.ValueNumber:
		return strconv.FormatFloat(value.Number(), 'f', -1, 64)
	case dbmedic_policy_findings.ValueText:
		return `"` + value.Text() + `"`
	case dbmedic_policy_findings.ValueIntegers:
		return fmt.Sprint(value.Integers())
	default:
		return fmt.Sprintf("%q", value.Texts())
	}
}

// How many letters must be changed, put in or taken out to make one name of the other.
func distance(one, other string) int {
	row := make([]int, len(other)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(one); i++ {
		corner := row[0]
		row[0] = i
		for j := 1; j <= len(other); j++ {
			changed := corner
			if one[i-1] != other[j-1] {
				changed++
			}
			corner = row[j]
			row[j] = min(changed, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(other)]
}
