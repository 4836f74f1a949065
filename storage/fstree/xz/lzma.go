package xz

// The decoder of LZMA, after the public-domain specification of Igor Pavlov (lzma-specification.txt in the LZMA SDK).

const (
	states       = 12
	posStates    = 16
	lenStates    = 4 // classes of match lengths for the distance
	matchMin     = 2
	half         = 1024 // a probability of one half
	specialSlots = 14   // from this slot on, the lowest bits of a distance have probabilities of their own
)

// lengths are the probabilities of match lengths.
type lengths struct {
	choice [2]uint16
	low    [posStates][8]uint16
	mid    [posStates][8]uint16
	high   [256]uint16
}

// lzma is the state of a decoder between chunks.
type lzma struct {
	rangeDecoder
	state            int
	reps             [4]uint32 // distances of the last matches, less 1
	lc               uint
	lpMask, posMask  int
	isMatch, isLong  [states][posStates]uint16
	isRep            [states]uint16
	isRepG           [3][states]uint16
	slots            [lenStates][64]uint16
	special          [115]uint16
	align            [16]uint16
	matchLen, repLen lengths
	literals         [16 * 0x300]uint16
}

// setProperties takes the byte that codes lc, lp and pb; LZMA2 admits lc+lp up to 4.
func (d *lzma) setProperties(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	lc, lp, pb := uint(b%9), uint(b/9%5), uint(b/45)
	d.lc, d.lpMask, d.posMask = lc, 1<<lp-1, 1<<pb-1
	return lc+lp <= 4
}

func fill(p []uint16) {
	for i := range p {
		p[i] = half
	}
}

// reset forgets everything but the properties.
func (d *lzma) reset() {
	d.state, d.reps = 0, [4]uint32{}
	for i := range states {
		fill(d.isMatch[i][:])
		fill(d.isLong[i][:])
	}
	fill(d.isRep[:])
	for i := range d.isRepG {
		fill(d.isRepG[i][:])
	}
	for i := range d.slots {
		fill(d.slots[i][:])
	}
	fill(d.special[:])
	fill(d.align[:])
	for _, l := range []*lengths{&d.matchLen, &d.repLen} {
		fill(l.choice[:])
		for i := range posStates {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
		fill(l.high[:])
	}
	fill(d.literals[:0x300<<(d.lc+lpBits(d.lpMask))])
}

func lpBits(mask int) (n uint) {
	for ; mask > 0; mask >>= 1 {
		n++
	}
	return n
}

// run decompresses a chunk, src without its last slack bytes, into w from at to its end. It tells whether that went well.
func (d *lzma) run(w *window, at int, src []byte) bool {
	if !d.begin(src) {
		return false
	}
	out := w.buf
	for pos := at; pos < len(out); {
		if d.at > len(src)-slack {
			return false
		}
		posState := (pos - w.start) & d.posMask
		if d.bit(&d.isMatch[d.state][posState]) == 0 {
			out[pos] = d.literalAt(w, pos)
			pos++
			continue
		}
		n := d.match(w, pos, posState)
		if n == 0 || n > len(out)-pos {
			return false
		}
		copyMatch(out, pos, int(d.reps[0])+1, n)
		pos += n
	}
	return d.end(len(src) - slack)
}

// copyMatch repeats n bytes from distance bytes before pos; the two may overlap.
func copyMatch(out []byte, pos, distance, n int) {
	if distance >= n {
		copy(out[pos:pos+n], out[pos-distance:])
		return
	}
	for n > 0 { // what is there doubles with every copy
		c := copy(out[pos:pos+min(n, distance)], out[pos-distance:pos])
		pos, n = pos+c, n-c
		distance += c
	}
}

func (d *lzma) literalAt(w *window, pos int) byte {
	var prev byte
	if pos > w.start {
		prev = w.buf[pos-1]
	}
	i := ((pos-w.start)&d.lpMask)<<d.lc + int(prev>>(8-d.lc))
	probs := (*[0x300]uint16)(d.literals[0x300*i:])
	if d.state < 7 {
		d.state = max(d.state-3, 0)
		return d.literal(probs)
	}
	if d.state < 10 {
		d.state -= 3
	} else {
		d.state -= 6
	}
	return d.matchedLiteral(probs, w.buf[pos-int(d.reps[0])-1])
}

// match decodes the length of a match and sets its distance; 0 is an impossible one.
func (d *lzma) match(w *window, pos, posState int) int {
	short := false
	if d.bit(&d.isRep[d.state]) == 0 {
		d.reps = [4]uint32{0, d.reps[0], d.reps[1], d.reps[2]}
		n := d.length(&d.matchLen, posState)
		d.reps[0] = d.distance(n)
		d.state = 7 + 3*atLeast(d.state, 7)
		return d.reachable(w, pos, n)
	}
	switch {
	case d.bit(&d.isRepG[0][d.state]) == 0:
		short = d.bit(&d.isLong[d.state][posState]) == 0
	case d.bit(&d.isRepG[1][d.state]) == 0:
		d.reps = [4]uint32{d.reps[1], d.reps[0], d.reps[2], d.reps[3]}
	case d.bit(&d.isRepG[2][d.state]) == 0:
		d.reps = [4]uint32{d.reps[2], d.reps[0], d.reps[1], d.reps[3]}
	default:
		d.reps = [4]uint32{d.reps[3], d.reps[0], d.reps[1], d.reps[2]}
	}
	if short {
		d.state = 9 + 2*atLeast(d.state, 7)
		return d.reachable(w, pos, 1)
	}
	n := d.length(&d.repLen, posState)
	d.state = 8 + 3*atLeast(d.state, 7)
	return d.reachable(w, pos, n)
}

func atLeast(v, limit int) int {
	if v >= limit {
		return 1
	}
	return 0
}

// reachable gives n if the distance lies in the dictionary.
func (d *lzma) reachable(w *window, pos, n int) int {
	if int64(d.reps[0]) >= int64(min(pos-w.start, w.dictionary)) {
		return 0
	}
	return n
}

func (d *lzma) length(l *lengths, posState int) int {
	if d.bit(&l.choice[0]) == 0 {
		return matchMin + d.tree(l.low[posState][:], 3)
	}
	if d.bit(&l.choice[1]) == 0 {
		return matchMin + 8 + d.tree(l.mid[posState][:], 3)
	}
	return matchMin + 16 + d.tree(l.high[:], 8)
}

// distance decodes how far back a match of n bytes begins, less 1.
func (d *lzma) distance(n int) uint32 {
	slot := d.tree(d.slots[min(n-matchMin, lenStates-1)][:], 6)
	if slot < 4 {
		return uint32(slot)
	}
	bits := slot/2 - 1
	base := uint32(2|slot&1) << bits
	if slot < specialSlots {
		return base + d.reverse(d.special[base-uint32(slot):], bits)
	}
	return base + d.direct(bits-4)<<4 + d.reverse(d.align[:], 4)
}
