package main

import (
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// traffic knows the calls that have come and are not answered yet. The connection tells it of every message: of one that comes
// before anything is made of it, and of an answer when that has been written.
type traffic struct {
	mu      sync.Mutex
	serial  uint32
	open    map[call]bool
	answers map[uint32]call // by the serial of the answer, while it is written
	changed chan<- struct{}
}

// call is a method call, as the bus tells it from others.
type call struct {
	sender string
	serial uint32
}

func newTraffic(changed chan<- struct{}) *traffic {
	return &traffic{open: map[call]bool{}, answers: map[uint32]call{}, changed: changed}
}

// incoming is told of every message that comes.
func (t *traffic) incoming(msg *dbus.Message) {
	if msg.Type != dbus.TypeMethodCall {
		return
	}
	face, _ := msg.Headers[dbus.FieldInterface].Value().(string)
	if msg.Flags&dbus.FlagNoReplyExpected != 0 && !strings.HasPrefix(face, ownPrefix) {
		return // a standard one is done at once
	}
	t.mu.Lock()
	t.open[callOf(msg)] = true
	t.mu.Unlock()
	wake(t.changed)
}

// outgoing is told of every message before it is written.
func (t *traffic) outgoing(msg *dbus.Message) {
	if msg.Type != dbus.TypeMethodReply && msg.Type != dbus.TypeError {
		return
	}
	to, _ := msg.Headers[dbus.FieldDestination].Value().(string)
	serial, _ := msg.Headers[dbus.FieldReplySerial].Value().(uint32)
	t.mu.Lock()
	t.answers[msg.Serial()] = call{to, serial}
	t.mu.Unlock()
}

// GetSerial is the number of the next message.
func (t *traffic) GetSerial() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serial = max(1, t.serial+1)
	return t.serial
}

// RetireSerial is told the number of a message that has been written.
func (t *traffic) RetireSerial(serial uint32) {
	t.mu.Lock()
	c, ok := t.answers[serial]
	delete(t.answers, serial)
	t.mu.Unlock()
	if ok {
		t.closed(c)
	}
}

// done is told when a call has been served. If it is to be answered, that counts.
func (t *traffic) done(msg *dbus.Message) {
	if msg.Flags&dbus.FlagNoReplyExpected != 0 {
		t.closed(callOf(msg))
	}
}

func (t *traffic) closed(c call) {
	t.mu.Lock()
	delete(t.open, c)
	t.mu.Unlock()
	wake(t.changed)
}

func (t *traffic) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func callOf(msg *dbus.Message) call {
	sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
	return call{sender, msg.Serial()}
}

// wake tells a channel with room for one message that something has changed.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
