// The least that a Go program can do: what starting any binary of ours is measured against.
package main

import "fmt"

func main() { fmt.Println("hello") }
