// gogzip LEVEL: standard input as gzip, by Go's own compressor, which docker and BuildKit make layers with.
package main

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strconv"
)

func main() {
	if run() != nil {
		os.Exit(1)
	}
}

func run() error {
	level, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	writer, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		return err
	}
	if _, err = io.Copy(writer, os.Stdin); err != nil {
		return err
	}
	if err = writer.Close(); err != nil {
		return err
	}
	return out.Flush()
}
