package userscope

import (
	"encoding/binary"
	"errors"
)

// encoder writes values as the D-Bus specification has them (Marshaling), little endian. Alignment counts from the beginning of what it
// holds, which has to be one of 8 bytes in the message.
type encoder struct{ b []byte }

func (e *encoder) align(n int) {
	for len(e.b)%n != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) byte(v byte) { e.b = append(e.b, v) }

func (e *encoder) uint32(v uint32) {
	e.align(4)
	e.b = binary.LittleEndian.AppendUint32(e.b, v)
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.b = append(append(e.b, s...), 0)
}

func (e *encoder) signature(s string) { e.b = append(append(append(e.b, byte(len(s))), s...), 0) }

// array writes the elements that f writes, each aligned to n.
func (e *encoder) array(n int, f func()) {
	e.uint32(0)
	length := len(e.b) - 4
	e.align(n)
	start := len(e.b)
	f()
	binary.LittleEndian.PutUint32(e.b[length:], uint32(len(e.b)-start))
}

// property writes an element of a(sv): a name, and a value that f writes.
func (e *encoder) property(name, signature string, f func()) {
	e.align(8)
	e.string(name)
	e.signature(signature)
	f()
}

// Kinds of messages, and of the fields of their headers.
const (
	methodCall  = 1
	methodReply = 2
	errorReply  = 3

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// call is a method call.
type call struct {
	destination, path, iface, member string
	signature                        string
	body                             func(*encoder)
}

func (c call) encode(serial uint32) []byte {
	var body, e encoder
	if c.body != nil {
		c.body(&body)
	}
	e.b = append(e.b, 'l', methodCall, 0, 1)
	e.uint32(uint32(len(body.b)))
	e.uint32(serial)
	e.array(8, func() {
		field := func(code byte, signature, value string) {
			e.align(8)
			e.byte(code)
			e.signature(signature)
			if signature == "g" {
				e.signature(value)
			} else {
				e.string(value)
			}
		}
		field(fieldPath, "o", c.path)
		field(fieldInterface, "s", c.iface)
		field(fieldMember, "s", c.member)
		field(fieldDestination, "s", c.destination)
		if c.signature != "" {
			field(fieldSignature, "g", c.signature)
		}
	})
	e.align(8)
	return append(e.b, body.b...)
}

// message is what is of interest of one that came.
type message struct {
	kind      byte
	replyTo   uint32
	errorName string
	text      string // the first value of the body, if that is a string
}

var errMalformed = errors.New("the bus sends what is no message")

// decoder reads values; bad says that there was less than they need.
type decoder struct {
	b   []byte
	at  int
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b)-d.at {
		d.bad = true
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) align(n int) { d.take((n - d.at%n) % n) }

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	d.align(4)
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) text(length int) string {
	s := string(d.take(length))
	d.take(1)
	return s
}

// fixedSize is the part of a header that every message has, up to the length of the fields.
const fixedSize = 16

// messageLimit is how large a message may be that is read, in bytes.
const messageLimit = 1 << 20

// sizes are how long the rest of a message is of which the first part is known: the header's fields, padding and body.
func sizes(fixed []byte) (fields, rest int, err error) {
	if len(fixed) != fixedSize || fixed[0] != 'l' || fixed[3] != 1 {
		return 0, 0, errMalformed
	}
	body, f := binary.LittleEndian.Uint32(fixed[4:]), binary.LittleEndian.Uint32(fixed[12:])
	if body > messageLimit || f > messageLimit {
		return 0, 0, errMalformed
	}
	padded := (int(f) + 7) / 8 * 8
	return int(f), padded + int(body), nil
}

// decode reads a whole message.
func decode(b []byte) (message, error) {
	if len(b) < fixedSize {
		return message{}, errMalformed
	}
	fields, rest, err := sizes(b[:fixedSize])
	if err != nil || len(b) != fixedSize+rest {
		return message{}, errMalformed
	}
	m := message{kind: b[1]}
	var signature string
	d := decoder{b: b[:fixedSize+fields], at: fixedSize}
	for d.at < len(d.b) && !d.bad {
		d.align(8)
		code := d.byte()
		switch kind := d.text(int(d.byte())); kind {
		case "s", "o":
			if s := d.text(int(d.uint32())); code == fieldErrorName {
				m.errorName = s
			}
		case "g":
			if s := d.text(int(d.byte())); code == fieldSignature {
				signature = s
			}
		case "u":
			if n := d.uint32(); code == fieldReplySerial {
				m.replyTo = n
			}
		default:
			d.bad = true
		}
	}
	if d.bad {
		return message{}, errMalformed
	}
	if signature != "" && (signature[0] == 's' || signature[0] == 'o') {
		body := decoder{b: b[fixedSize+(fields+7)/8*8:]}
		m.text = body.text(int(body.uint32()))
		d.bad = body.bad
	}
	if d.bad {
		return message{}, errMalformed
	}
	return m, nil
}
