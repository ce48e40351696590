/** Calls of the host process on a usbfs descriptor and on sockets, without libusb. Each adds itself to the exports. */
#pragma once

#include <napi.h>

void DefineUsbfs(Napi::Env env, Napi::Object exports);
void DefineSockets(Napi::Env env, Napi::Object exports);
void DefineUevents(Napi::Env env, Napi::Object exports);
