package main

import (
	"sync"

	"github.com/godbus/dbus/v5"
)

// maxCallers is how many connections are remembered; when there are more, they are asked about anew.
const maxCallers = 1024

// maxSubscribers bounds who can keep the service from ending.
const maxSubscribers = 256

// callers knows whose the connections are that call, and which of them want the service to stay.
type callers struct {
	conn    *dbus.Conn
	uid     uint32
	changed chan<- struct{}

	mu          sync.Mutex
	own         map[string]bool // unique names, which the bus gives once only
	subscribers map[string]bool
}

// watch learns of connections that end.
func (c *callers) watch() error {
	c.own, c.subscribers = map[string]bool{}, map[string]bool{}
	signals := make(chan *dbus.Signal, 64)
	c.conn.Signal(signals)
	go func() {
		for sig := range signals {
			if len(sig.Body) != 3 || sig.Name != "org.freedesktop.DBus.NameOwnerChanged" {
				continue
			}
			if name, ok := sig.Body[0].(string); ok && sig.Body[2] == "" {
				c.forget(name)
			}
		}
	}()
	return c.conn.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(2, ""))
}

// admit refuses who is not the user. The bus of a session does so too.
func (c *callers) admit(sender string) *dbus.Error {
	c.mu.Lock()
	known := c.own[sender]
	c.mu.Unlock()
	if known {
		return nil
	}
	var uid uint32
	if err := c.conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixUser", 0, sender).Store(&uid); err != nil {
		return refuse(accessDenied, "the bus does not say whose the connection %s is: %v", sender, err)
	}
	if uid != c.uid {
		return refuse(accessDenied, "the connection %s is of user %d, and this service of user %d", sender, uid, c.uid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.own) >= maxCallers {
		clear(c.own)
	}
	c.own[sender] = true
	return nil
}

// subscribe keeps the service from ending while a connection is there.
func (c *callers) subscribe(sender string) *dbus.Error {
	c.mu.Lock()
	if len(c.subscribers) >= maxSubscribers && !c.subscribers[sender] {
		c.mu.Unlock()
		return refuse(limitExceeded, "there are %d subscribers already", maxSubscribers)
	}
	c.subscribers[sender] = true
	c.mu.Unlock()
	var here bool // it may have gone before it was a subscriber
	if err := c.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, sender).Store(&here); err != nil || !here {
		c.forget(sender)
		return refuse(failed, "the connection %s has gone", sender)
	}
	return nil
}

func (c *callers) unsubscribe(sender string) {
	c.mu.Lock()
	delete(c.subscribers, sender)
	c.mu.Unlock()
	wake(c.changed)
}

func (c *callers) forget(sender string) {
	c.mu.Lock()
	delete(c.own, sender)
	_, was := c.subscribers[sender]
	delete(c.subscribers, sender)
	c.mu.Unlock()
	if was {
		wake(c.changed)
	}
}

func (c *callers) subscribed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subscribers)
}
