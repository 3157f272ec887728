package quant

// WriteBlocks is Write with blocks of about so many weights.
var WriteBlocks = write
