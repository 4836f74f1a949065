package integration

import (
	"encoding/binary"
	"errors"
)

// families of addresses in authority files (Xau(3))
const (
	familyLocal = 256
	familyWild  = 65535
)

// Authority takes the keys of a local display from the text of an X authority file, and makes them ones that hold for every
// host name: inside, the host is called otherwise, and no library would find them. The keys of other displays stay outside.
func Authority(text []byte, display string) ([]byte, error) {
	var out []byte
	for len(text) > 0 {
		if len(text) < 2 {
			return nil, errors.New("the X authority file is cut off")
		}
		family := binary.BigEndian.Uint16(text)
		text = text[2:]
		var fields [4][]byte // address, display, name, key
		for i := range fields {
			if len(text) < 2 || len(text)-2 < int(binary.BigEndian.Uint16(text)) {
				return nil, errors.New("the X authority file is cut off")
			}
			end := 2 + int(binary.BigEndian.Uint16(text))
			fields[i], text = text[2:end], text[end:]
		}
		if number := string(fields[1]); family != familyLocal && family != familyWild || number != "" && number != display {
			continue
		}
		fields[0] = nil
		out = binary.BigEndian.AppendUint16(out, familyWild)
		for _, f := range fields {
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(f))), f...)
		}
	}
	return out, nil
}
