{
  "targets": [
    {
      "target_name": "gwlb",
      # Every native source, sorted; a new file is taken up by the next `node-gyp configure`.
      "sources": [
        "<!@(node -p \"require('fs').readdirSync('native',{recursive:true}).filter(f=>f.endsWith('.cc')).sort().map(f=>'native/'+f).join(' ')\")"
      ],
      "include_dirs": ["native"],
      # The set without C++ exceptions; it brings node-addon-api's include path.
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api"],
      "defines": [
        "GWLB_VERSION=\"<!(node -p \"require('./package.json').version\")\"",
        "NAPI_VERSION=8",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "cflags": ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
      # Node 20's own flags say gnu++17, later ones gnu++20, and -O3.
      "cflags!": ["-O3"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-O3"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags": ["-pthread"]
    }
  ]
}
