package isa

// Param is one parameter of the machine and where it is from.
type Param struct {
	Name   string
	Value  string
	Source string // "cited: ..." or "ASSUMED: ..."
}

// Limits of the machine that programs are checked against, in bytes and
// counts; their sources are in [Params].
const (
	MaxQuads   = 4
	SBytes     = 4 << 20   // data memory of a quad
	TileBytes  = 256 << 10 // codes, scales and offsets of one weight tile
	NumTiles   = 4         // weight tiles of a quad
	MaxMM      = 256       // rows of one MM
	MaxTokens  = 255       // a token counter's limit
	PanelRows  = 16        // output rows of a panel
	MaxTopk    = 64        // pairs that TOPK keeps a row
	DMALatency = 300       // cycles
	VectorLane = 64        // F32 lanes of a vector unit
)

// Params lists what is known or assumed of the hardware. No real chip loads
// these programs: every figure is from a public page or assumed.
var Params = []Param{
	{"quads", "4", "cited: SiMa.ai product pages of Modalix"},
	{"peak", "50 TOPS INT8 and BF16", "cited: SiMa.ai product pages of Modalix"},
	{"clock", "1.5 GHz", "ASSUMED: 4 quads, 4096 MACs a cycle and 1.5 GHz give 49.2 TOPS"},
	{"MACs a quad and cycle", "4096", "ASSUMED: as the clock"},
	{"S a quad", "4 MiB, one bank", "ASSUMED: a prefill step of 128 rows at hidden 3072 and ffn 8192 takes 3.1 MiB"},
	{"W tile", "256 KiB, 4 a quad", "ASSUMED: holds one BF16 panel of K = 8192"},
	{"DRAM peak", "102.4 GB/s", "ASSUMED: 128 bits of LPDDR5-6400 (JESD209-5)"},
	{"DRAM effective", "72 GB/s", "ASSUMED: fitted to published decode speeds"},
	{"program launch", "105 µs", "ASSUMED: fitted to published decode speeds"},
	{"F32 lanes a quad", "64", "ASSUMED"},
	{"issue", "32 cycles", "ASSUMED"},
	{"DMA latency", "300 cycles", "ASSUMED"},
	{"BAR", "200 cycles", "ASSUMED"},
}
