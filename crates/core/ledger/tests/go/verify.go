// Verifies a ledger's directory with the Go checksum database's own packages, which share no code with Portreeve:
// go run verify.go DIRECTORY VERIFIER_KEY. Prints the size of the ledger.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type files struct{ directory string }

func (f files) Height() int { return height }

// The package has the height in its paths; tlog-tiles has not, for it is always 8.
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(f.directory, path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func head(signed []byte, key string) tlog.Tree {
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		log.Fatalf("the checkpoint is of %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	return tlog.Tree{N: size, Hash: hash(lines[2])}
}

func hash(text string) (hash tlog.Hash) {
	bytes, err := base64.StdEncoding.DecodeString(text)
	must(err)
	if copy(hash[:], bytes) != len(hash) {
		log.Fatal("a short hash")
	}
	return hash
}

func entries(directory string, size int64) (entries [][]byte) {
	for start := int64(0); start < size; start += 1 << height {
		width := size - start
		if width > 1<<height {
			width = 1 << height
		}
		tile := tlog.Tile{H: height, L: 0, N: start >> height, W: int(width)}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(directory, path))
		must(err)
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:2+length])
			bundle = bundle[2+length:]
		}
	}
	return entries
}

// A .tlog-proof of an entry.
func checkProof(text, key string, entries [][]byte) {
	parts := strings.SplitN(text, "\n\n", 2)
	tree := head([]byte(parts[1]), key)
	lines := strings.Split(parts[0], "\n")
	if strings.HasPrefix(lines[1], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	must(err)
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		proof = append(proof, hash(line))
	}
	must(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entries[index])))
}

// The body of add-checkpoint: the new head continues the old one.
func checkConsistency(text, key string, oldRoot tlog.Hash) {
	parts := strings.SplitN(text, "\n\n", 2)
	tree := head([]byte(parts[1]), key)
	lines := strings.Split(parts[0], "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	must(err)
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		proof = append(proof, hash(line))
	}
	must(tlog.CheckTree(proof, tree.N, tree.Hash, old, oldRoot))
}

func main() {
	log.SetFlags(0)
	directory, key := os.Args[1], os.Args[2]
	read := func(name string) string {
		bytes, err := os.ReadFile(filepath.Join(directory, name))
		must(err)
		return string(bytes)
	}
	tree := head([]byte(read("checkpoint")), key)
	all := entries(directory, tree.N)
	if int64(len(all)) != tree.N {
		log.Fatalf("there are %d entries, and the checkpoint is of %d", len(all), tree.N)
	}
	reader := tlog.TileHashReader(tree, files{directory})
	for index, entry := range all {
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		must(err)
		if hashes[0] != tlog.RecordHash(entry) {
			log.Fatalf("entry %d is not the one of its tile", index)
		}
	}
	checkProof(read("entry.tlog-proof"), key, all)
	old := strings.SplitN(read("old"), " ", 2)
	checkConsistency(read("add-checkpoint"), key, hash(strings.TrimSpace(old[1])))
	fmt.Println(tree.N)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
