package xz

// rangeDecoder is the range coder of LZMA. Its loops keep the state in local variables, which makes them twice as fast.
type rangeDecoder struct {
	src   []byte
	at    int
	width uint32 // "range" in the specification
	code  uint32
}

const (
	modelBits = 11
	moveBits  = 5
	top       = 1 << 24
)

// begin reads the first five bytes of a chunk.
func (r *rangeDecoder) begin(src []byte) bool {
	if len(src) < 5+slack || src[0] != 0 {
		return false
	}
	r.src, r.at, r.width = src, 5, 1<<32-1
	r.code = uint32(src[1])<<24 | uint32(src[2])<<16 | uint32(src[3])<<8 | uint32(src[4])
	return true
}

// end tells whether the chunk was used up exactly.
func (r *rangeDecoder) end(size int) bool {
	if r.width < top {
		r.width <<= 8
		r.code = r.code<<8 | uint32(r.src[r.at])
		r.at++
	}
	return r.at == size && r.code == 0
}

// bit decodes one bit with the probability p.
func (r *rangeDecoder) bit(p *uint16) int {
	if r.width < top {
		r.width <<= 8
		r.code = r.code<<8 | uint32(r.src[r.at])
		r.at++
	}
	v := uint32(*p)
	bound := r.width >> modelBits * v
	if r.code < bound {
		r.width = bound
		*p = uint16(v + (1<<modelBits-v)>>moveBits)
		return 0
	}
	r.width -= bound
	r.code -= bound
	*p = uint16(v - v>>moveBits)
	return 1
}

// literal decodes a byte.
func (r *rangeDecoder) literal(probs *[0x300]uint16) byte {
	src, at, width, code := r.src, r.at, r.width, r.code
	symbol := uint32(1)
	for symbol < 0x100 {
		if width < top {
			width <<= 8
			code = code<<8 | uint32(src[at])
			at++
		}
		v := uint32(probs[symbol&0xff])
		bound := width >> modelBits * v
		if code < bound {
			width = bound
			probs[symbol&0xff] = uint16(v + (1<<modelBits-v)>>moveBits)
			symbol <<= 1
		} else {
			width -= bound
			code -= bound
			probs[symbol&0xff] = uint16(v - v>>moveBits)
			symbol = symbol<<1 | 1
		}
	}
	r.at, r.width, r.code = at, width, code
	return byte(symbol)
}

// matchedLiteral decodes the byte after a match, where the byte that would go on with it is a hint.
func (r *rangeDecoder) matchedLiteral(probs *[0x300]uint16, hint byte) byte {
	src, at, width, code := r.src, r.at, r.width, r.code
	symbol, match, offset := uint32(1), uint32(hint), uint32(0x100)
	for symbol < 0x100 {
		if width < top {
			width <<= 8
			code = code<<8 | uint32(src[at])
			at++
		}
		match <<= 1
		want := match & offset
		i := offset + want + symbol
		if i >= uint32(len(probs)) {
			break // cannot be
		}
		v := uint32(probs[i])
		bound := width >> modelBits * v
		if code < bound {
			width = bound
			probs[i] = uint16(v + (1<<modelBits-v)>>moveBits)
			symbol <<= 1
			offset &^= want
		} else {
			width -= bound
			code -= bound
			probs[i] = uint16(v - v>>moveBits)
			symbol = symbol<<1 | 1
			offset = want
		}
	}
	r.at, r.width, r.code = at, width, code
	return byte(symbol)
}

// tree decodes a number of n bits, highest first.
func (r *rangeDecoder) tree(probs []uint16, n int) int {
	src, at, width, code := r.src, r.at, r.width, r.code
	symbol := 1
	for range n {
		if width < top {
			width <<= 8
			code = code<<8 | uint32(src[at])
			at++
		}
		v := uint32(probs[symbol])
		bound := width >> modelBits * v
		if code < bound {
			width = bound
			probs[symbol] = uint16(v + (1<<modelBits-v)>>moveBits)
			symbol <<= 1
		} else {
			width -= bound
			code -= bound
			probs[symbol] = uint16(v - v>>moveBits)
			symbol = symbol<<1 | 1
		}
	}
	r.at, r.width, r.code = at, width, code
	return symbol - 1<<n
}

// reverse decodes a number of n bits, lowest first.
func (r *rangeDecoder) reverse(probs []uint16, n int) (v uint32) {
	symbol := 1
	for i := range n {
		b := r.bit(&probs[symbol])
		symbol = symbol<<1 | b
		v |= uint32(b) << i
	}
	return v
}

// direct decodes a number of n bits that have no probabilities, highest first.
func (r *rangeDecoder) direct(n int) (v uint32) {
	for range n {
		if r.width < top {
			r.width <<= 8
			r.code = r.code<<8 | uint32(r.src[r.at])
			r.at++
		}
		r.width >>= 1
		b := 1 - (r.code-r.width)>>31
		r.code -= r.width & -b
		v = v<<1 | b
	}
	return v
}
