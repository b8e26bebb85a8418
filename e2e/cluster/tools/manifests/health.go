package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// A script, the object that it is given, and the time that it sees.
type healthCase struct {
	Script string         `json:"script"`
	Object map[string]any `json:"object"`
	Now    int64          `json:"now"`
}

// What it said, or why it said nothing.
type healthResult struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	Error   string `json:"error,omitempty"`
}

// health runs every case in a sandbox of its own.
func health(from io.Reader, to io.Writer) error {
	var cases []healthCase
	if err := json.NewDecoder(from).Decode(&cases); err != nil {
		return err
	}
	results := make([]healthResult, len(cases))
	for i, one := range cases {
		results[i] = assess(one)
	}
	return json.NewEncoder(to).Encode(results)
}

func assess(one healthCase) healthResult {
	state, cancel := sandbox(one.Now)
	defer cancel()
	defer state.Close()
	state.SetGlobal("obj", value(state, one.Object))
	if err := state.DoString(one.Script); err != nil {
		return healthResult{Error: err.Error()}
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return healthResult{Error: fmt.Sprintf("the script returned a %s, not a table", state.Get(-1).Type())}
	}
	status, isText := table.RawGetString("status").(lua.LString)
	if !isText {
		return healthResult{Error: "the table has no status"}
	}
	message, _ := table.RawGetString("message").(lua.LString)
	return healthResult{Status: string(status), Message: string(message)}
}

// sandbox has what Argo CD gives a health script of its configuration: the base and table libraries, require("os"), one second.
// Of os only time, at the case's own time.
func sandbox(now int64) (*lua.LState, context.CancelFunc) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		state.Push(state.NewFunction(library.open))
		state.Push(lua.LString(library.name))
		state.Call(1, 0)
	}
	state.PreloadModule("os", func(state *lua.LState) int {
		state.Push(state.SetFuncs(state.NewTable(), map[string]lua.LGFunction{"time": func(state *lua.LState) int {
			state.Push(lua.LNumber(now))
			return 1
		}}))
		return 1
	})
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	state.SetContext(limit)
	return state, cancel
}

// value is JSON as Lua sees it.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		list := state.NewTable()
		for _, item := range from {
			list.Append(value(state, item))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
