// nothing.c - a container's process that ends with its first instructions
// SPDX-License-Identifier: Apache-2.0
int main(void)
{
	return 0;
}
