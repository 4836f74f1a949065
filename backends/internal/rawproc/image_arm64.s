#include "textflag.h"

// The interpreter of an Image. It is not called: its instructions, which refer to no other symbol, are copied into the
// image, up to the two BRK at its end. R19 is the op, see image.go for its fields.
TEXT ·interpreter(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$0x410010, R19
next:
	MOVD	0(R19), R8
	MOVD	8(R19), R0
	MOVD	(R0), R0
	MOVD	16(R19), R1
	MOVD	(R1), R1
	CMN	$1, R8
	BEQ	failop
	MOVD	24(R19), R2
	MOVD	(R2), R2
	MOVD	32(R19), R3
	MOVD	(R3), R3
	MOVD	40(R19), R4
	MOVD	(R4), R4
	MOVD	48(R19), R5
	MOVD	(R5), R5
	SVC
	CMN	$4095, R0
	BCS	failed
	MOVD	56(R19), R9
	MOVD	R0, (R9)
	MOVD	64(R19), R9
	ADD	R9, R19, R19
	B	next
failed:
	NEG	R0, R0
	CMP	$4, R0	// EINTR
	BEQ	next
	MOVD	72(R19), R9
	MOVD	R0, (R9)
	MOVD	80(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	88(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	96(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	104(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	112(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	120(R19), R9
	CMP	R9, R0
	BEQ	allowed
	MOVD	128(R19), R9	// any
	CBNZ	R9, allowed
	B	report
failop:
	CBNZ	R0, report
	MOVD	R1, R0
	CBNZ	R0, report
	MOVD	64(R19), R9
	ADD	R9, R19, R19
	B	next
report:
	MOVD	144(R19), R1	// the label, with room for the errno before it
	MOVW	R0, (R1)
	MOVD	152(R19), R2
	MOVD	$0x410000, R0
	MOVD	(R0), R0
	MOVD	(R0), R0
	MOVD	$64, R8	// write
	SVC
	MOVD	$125, R0
	MOVD	$94, R8	// exit_group
	SVC
allowed:
	MOVD	136(R19), R9
	ADD	R9, R19, R19
	B	next
	BRK
	BRK

// func interpreterAddress() unsafe.Pointer
TEXT ·interpreterAddress(SB),NOSPLIT,$0-8
	MOVD	$·interpreter(SB), R0
	MOVD	R0, ret+0(FP)
	RET
