/** Reading JavaScript arguments: a wrong type throws a TypeError that names the argument; nothing is converted. */
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

/** A whole number within int32; false after throwing. */
bool ReadInt(const Napi::CallbackInfo& info, size_t index, const char* name, int* value);
bool ReadBool(const Napi::CallbackInfo& info, size_t index, const char* name, bool* value);
/** A Uint8Array (or Buffer); false after throwing. */
bool ReadBytes(const Napi::CallbackInfo& info, size_t index, const char* name, Napi::Uint8Array* value);
bool ReadString(const Napi::CallbackInfo& info, size_t index, const char* name, std::string* value);
bool ReadFunction(const Napi::CallbackInfo& info, size_t index, const char* name, Napi::Function* value);
