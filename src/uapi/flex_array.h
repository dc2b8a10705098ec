// SPDX-License-Identifier: Apache-2.0
// For *_parity_test.cc, before the system's uAPI headers: in C++ an empty struct has a size, so that their macro for
// flexible arrays moves what it declares; as C sees it, it does not.
#pragma once

#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(type, name) type name[0]
