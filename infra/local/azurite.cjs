// Runs Azurite, with the flags of its own command, and asks it to end when standard
// input closes.
//
// Azurite removes what was replaced, of queues each minute, of blobs each ten, one by
// one, and sorts all the rest each time: with some thousand it answered nothing for a
// quarter of a minute, with thirty thousand for an hour, not even that it should end.
// Here it removes without sorting.

process.stdin.on('end', () => process.emit('SIGTERM'));
process.stdin.resume();

const { prototype } = require('azurite/dist/src/common/persistence/LokiExtentMetadataStore.js').default;
prototype.deleteExtent = async function (id) {
  const extents = this.db.getCollection(this.EXTENTS_COLLECTION);
  const extent = extents.findOne({ id });
  if (extent) extents.remove(extent);
};

require('azurite/dist/src/azurite.js');
