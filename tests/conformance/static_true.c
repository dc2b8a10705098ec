// SPDX-License-Identifier: Apache-2.0
// A program that the preloaded library cannot reach: linked statically.
int main(void) { return 0; }
