console.log("release @VERSION@");
